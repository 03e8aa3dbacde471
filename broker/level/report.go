package level

import "errors"

// ErrReport says that bytes are none of Append's, or of a newer version.
var ErrReport = errors.New("the report of levels is damaged or of a newer version")

const reportVersion = 1

// Append appends r as bytes, for ParseReport: what one shard tells another.
func (r Report) Append(dst []byte) []byte {
	w := writer{append(dst, reportVersion)}
	w.num(uint64(len(r)))
	for i := range r {
		row := &r[i]
		w.str(row.Level)
		w.str(row.Of)
		w.str(row.Name)
		for j := range row.Windows {
			c := &row.Windows[j]
			w.int(c.Count)
			w.int(c.Met)
			w.int(c.Timed)
			w.int(c.Sum)
			filled := 0
			for _, n := range c.times {
				if n > 0 {
					filled++
				}
			}
			w.num(uint64(filled)) //nolint:gosec // few
			for b, n := range c.times {
				if n > 0 {
					w.num(uint64(b)) //nolint:gosec // few
					w.num(uint64(n))
				}
			}
		}
	}
	return w.b
}

// ParseReport reads what Append wrote. It copies what it keeps, and takes no more than 500 times the memory of b.
func ParseReport(b []byte) (Report, error) {
	r := reader{b: b}
	if r.byte() != reportVersion {
		return nil, ErrReport
	}
	n := r.count()
	list := make(Report, 0, min(n, len(r.b)/(3+5*window)))
	for range n {
		row := Row{Key: Key{r.str(), r.str(), r.str()}}
		for j := range row.Windows {
			c := &row.Windows[j]
			c.Count, c.Met, c.Timed, c.Sum = r.int(), r.int(), r.int(), r.int()
			for range r.count() {
				b, n := r.num(), r.num()
				if b >= buckets || n > 1<<32-1 {
					r.fail()
					break
				}
				c.times[b] = uint32(n)
			}
		}
		if r.bad {
			return nil, ErrReport
		}
		list = append(list, row)
	}
	if r.bad || len(r.b) > 0 {
		return nil, ErrReport
	}
	return list, nil
}
