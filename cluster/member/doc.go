// Package member makes a node a member of a cluster.
package member
