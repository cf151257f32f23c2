-- Marks the file as captioner's: "capt" in ASCII.
PRAGMA application_id = 1667330164;
