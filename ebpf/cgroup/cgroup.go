// Package cgroup names the control groups of the running kernel.
//
// It is the floor that the sensor and the agents stand on: the kernel's id of
// a cgroup, its path below the cgroup2 root, and its parent.
package cgroup

// ID is the kernfs node id of a cgroup: what bpf_get_current_cgroup_id and
// cgroup->kn->id give, and the inode number of its directory on 64-bit
// machines (fs/kernfs/inode.c, kernfs_ino). The id of the root is 1.
type ID uint64

// Root is the id of the cgroup2 root.
const Root ID = 1
