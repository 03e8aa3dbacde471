// Package capacity has the simulation of a cluster of which the nodes of workers, of their pool and of their sessions fail in the same
// second: nobody has more than he can take. It has tests only.
package capacity
