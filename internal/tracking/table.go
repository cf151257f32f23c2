package tracking

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strconv"
	"time"

	"github.com/captioner/captioner/internal/atomicfile"
)

// table is metrics.csv, which grows by rows.
type table struct {
	files   atomicfile.FileSystem
	path    string
	file    *growing
	columns []string
}

// write appends rows, or writes all of them into a new file where the table is
// not open yet or the rows have a column that it lacks.
func (t *table) write(fresh, all []row) error {
	columns := names(all)
	if t.file != nil && slices.Equal(columns, t.columns) {
		if len(fresh) == 0 {
			return nil
		}
		return t.file.add(encodeRows(nil, columns, fresh))
	}
	t.close()
	header := append([]string{"time", "step"}, columns...)
	file, err := grow(t.files, t.path, encodeRows(header, columns, all))
	if err != nil {
		return err
	}
	t.file, t.columns = file, columns
	return nil
}

func (t *table) close() {
	if t.file != nil {
		t.file.close()
		t.file = nil
	}
}

// encodeRows gives the rows as CSV, after a header unless that is nil.
func encodeRows(header, columns []string, rows []row) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if header != nil {
		_ = w.Write(header) // into memory: cannot fail
	}
	for _, r := range rows {
		record := []string{r.time.UTC().Format(time.RFC3339Nano), strconv.Itoa(r.step)}
		for _, name := range columns {
			cell := ""
			if value, ok := r.values[name]; ok {
				cell = number(value)
			}
			record = append(record, cell)
		}
		_ = w.Write(record)
	}
	w.Flush()
	return b.Bytes()
}

// number gives v with as many digits as it takes to read the same number back.
func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
