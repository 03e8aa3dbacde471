package swarm

import (
	"bytes"
	"os"
	"strconv"
)

// busy returns for how many seconds the processors of this machine have been used by anybody, together; 0 when it is not known.
func busy() float64 {
	const tick = 100 // USER_HZ, which is part of Linux's interface
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	f := bytes.Fields(line)
	if len(f) < 9 || string(f[0]) != "cpu" {
		return 0
	}
	sum := 0.0
	for i, v := range f[1:9] { // user nice system idle iowait irq softirq steal
		if i == 3 || i == 4 {
			continue
		}
		n, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return 0
		}
		sum += n
	}
	return sum / tick
}
