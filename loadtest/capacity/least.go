package capacity

import "math"

// least returns the weights x ≥ 0 of the columns whose sum comes nearest to want, each row's error divided by want. There are few
// columns, so every choice of those that are above zero is tried. A row that is all right with none of them is
// taken as it is.
func least(rows [][]float64, want []float64) []float64 {
	n := len(rows[0])
	best, bestErr := make([]float64, n), math.Inf(1)
	for mask := range 1 << n {
		x, ok := solve(rows, want, mask)
		if !ok {
			continue
		}
		if e := misfit(rows, want, x); e < bestErr*(1-1e-9) {
			best, bestErr = x, e
		}
	}
	return best
}

// misfit is the sum of squares of relative errors.
func misfit(rows [][]float64, want, x []float64) (sum float64) {
	for i, row := range rows {
		e := (dot(row, x) - want[i]) * weight(want[i])
		sum += e * e
	}
	return sum
}

// weight makes errors relative.
func weight(want float64) float64 {
	if want <= 0 {
		return 1
	}
	return 1 / want
}

func dot(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// solve solves the normal equations for the columns in mask, the others being zero. ok is false when they have no one
// solution, or one with a weight that is not above zero.
func solve(rows [][]float64, want []float64, mask int) (x []float64, ok bool) {
	var cols []int
	for j := range rows[0] {
		if mask&(1<<j) != 0 {
			cols = append(cols, j)
		}
	}
	x = make([]float64, len(rows[0]))
	if len(cols) > len(rows) {
		return x, false
	}
	scale := make([]float64, len(cols)) // columns differ by many orders of magnitude
	for k, j := range cols {
		for i := range rows {
			scale[k] = max(scale[k], math.Abs(rows[i][j])*weight(want[i]))
		}
		if scale[k] == 0 {
			return x, false
		}
	}
	m := make([][]float64, len(cols))
	for a := range cols {
		m[a] = make([]float64, len(cols)+1)
		for i, row := range rows {
			w := weight(want[i])
			va := row[cols[a]] * w / scale[a]
			for b := range cols {
				m[a][b] += va * row[cols[b]] * w / scale[b]
			}
			m[a][len(cols)] += va * want[i] * w
		}
	}
	if !eliminate(m) {
		return x, false
	}
	for k, j := range cols {
		x[j] = m[k][len(cols)] / scale[k]
		if x[j] <= 0 {
			return x, false
		}
	}
	return x, true
}

// eliminate brings m, whose last column is the right side, to its solution in that column.
func eliminate(m [][]float64) bool {
	const singular = 1e-10
	n := len(m)
	for c := range n {
		p := c
		for r := c + 1; r < n; r++ {
			if math.Abs(m[r][c]) > math.Abs(m[p][c]) {
				p = r
			}
		}
		if math.Abs(m[p][c]) < singular {
			return false
		}
		m[c], m[p] = m[p], m[c]
		for r := range n {
			if r == c {
				continue
			}
			f := m[r][c] / m[c][c]
			for k := c; k <= n; k++ {
				m[r][k] -= f * m[c][k]
			}
		}
	}
	for c := range n {
		m[c][n] /= m[c][c]
	}
	return true
}
