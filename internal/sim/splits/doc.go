// Package splits has the simulation of a cluster whose shards are split while people talk and machines lose their power. It has tests only.
package splits
