DROP TABLE leases;
DROP TABLE deliveries;
