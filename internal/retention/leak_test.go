package retention_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain finds goroutines that the tests leave behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
