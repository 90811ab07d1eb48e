/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The parents of cgroups that have an account, so that user space can follow
 * each to the root, also when it is gone. Needs sensor/bpf/kernel.h.
 */
#ifndef CAM_ANCESTRY_H
#define CAM_ANCESTRY_H

/* Deeper cgroups than this get no account of their own. */
#define MAX_DEPTH 64

struct ancestry {
	__u64 parent;
	__u64 removed; /* the directory is gone */
};

/* The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct ancestry);
} ancestries SEC(".maps");

struct cgroup_root___id {
	int hierarchy_id;
} __attribute__((preserve_access_index));

/* Ids of version 1 hierarchies are another name space. The default one is the
 * first that the kernel sets up (cgroup_init), and its id is 0. */
static __always_inline bool version2(struct cgroup *cg)
{
	struct cgroup_root___id *root = (void *)cg->root;

	return root->hierarchy_id == 0;
}

/*
 * Record the chain from a struct cgroup to the root; -1 if there is no room. It
 * comes before the account, so that user space, which reads in the opposite
 * order, never sees an orphan.
 *
 * A global function of numbers, which the verifier looks at once and not at
 * each call.
 */
__noinline int record_ancestry(__u64 of)
{
	struct cgroup *cg = (void *)of;

	for (int i = 0; i < MAX_DEPTH; i++) {
		struct cgroup_subsys_state *up = BPF_CORE_READ(cg, self.parent);
		struct cgroup *parent;
		struct ancestry *known, a = {};
		__u64 id = BPF_CORE_READ(cg, kn, id);

		if (!up)
			return 0; /* the root has no parent */
		parent = BPF_CORE_READ(up, cgroup);
		a.parent = BPF_CORE_READ(parent, kn, id);
		if (!bpf_map_lookup_elem(&ancestries, &id))
			bpf_map_update_elem(&ancestries, &id, &a, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&ancestries, &id);
		if (!known)
			return -1;
		/* Looked at after it is in the map: cgroup_rmdir finds it there,
		 * or the flag is off by now. */
		if (!(BPF_CORE_READ(cg, self.flags) & CSS_ONLINE))
			known->removed = 1;
		cg = parent;
	}
	return -1;
}

#endif
