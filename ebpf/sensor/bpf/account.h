/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The accounts of cgroups, and the slots in which each CPU gathers what is to
 * go there.
 */
#ifndef CAM_ACCOUNT_H
#define CAM_ACCOUNT_H

#include "task.h"

/* A power of two. Ids are handed out in sequence, so their low bits spread. */
#define SLOTS 16
/* Deeper cgroups than this are charged to the overflow account. */
#define MAX_DEPTH 64
/* Of ebpf/histogram.Log2. */
#define BUCKETS 26

/* Switches that the loader sets: what is off costs one load. */
const volatile bool count_waits = 1;
const volatile bool count_cycles;

struct usage {
	__u64 ns;
	__u64 switches;
	__u64 read;
	__u64 written;
	__u64 cycles;
	__u64 instructions;
};

struct waits {
	__u64 ns;
	__u64 counts[BUCKETS];
};

struct slot {
	__u64 id; /* 0: free */
	__u64 ns;
	__u64 switches;
	__u64 cycles;
	__u64 instructions;
	__u64 waited;
	__u32 waits[BUCKETS]; /* a look comes long before one wraps */
};

/* What a task spent since its CPU was last charged. */
struct spent {
	__u64 ns;
	__u64 cycles;
	__u64 instructions;
};

struct cpu {
	__u64 first; /* when this CPU was first seen, CLOCK_MONOTONIC */
	__u64 last;  /* charged up to here */
	__u64 moves; /* moves_made as it was then */
	__u64 idle;
	__u64 looked;      /* last, at the latest look */
	__u64 looked_idle; /* and idle: what comes after is the next look's */
	__u64 cycles;      /* the counters, charged up to here */
	__u64 instructions;
	__u64 enabled; /* of the cycle counter, at the latest look */
	__u64 stopped; /* it counts no more: the CPU was away */
	struct usage overflow;
	struct waits waits; /* the overflow's */
	struct slot slots[SLOTS];
};

struct ancestry {
	__u64 parent;
	__u64 removed; /* the directory is gone */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu);
} cpus SEC(".maps");

/* Sizes are set by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct usage);
} usages SEC(".maps");

/*
 * One entry for all CPUs: a histogram is settled seldom, so that adding to it
 * atomically costs less than reading one for each CPU at every look.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct waits);
} waiting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct ancestry);
} ancestries SEC(".maps");

static __always_inline struct cpu *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpus, &zero);
}

/*
 * What follows are global functions of numbers: the verifier looks at such once,
 * and not at each call. They are called seldom.
 */

/*
 * Record the chain from a struct cgroup to the root. It comes before the usage
 * entry, so that user space, which reads in the opposite order, never sees an
 * orphan.
 */
__noinline int record_ancestry(__u64 of)
{
	struct cgroup *cg = (void *)of;

	for (int i = 0; i < MAX_DEPTH; i++) {
		struct cgroup_subsys_state *up = BPF_CORE_READ(cg, self.parent);
		struct cgroup *parent;
		struct ancestry a = {};
		__u64 id = BPF_CORE_READ(cg, kn, id);

		if (!up)
			return 0; /* the root has no parent */
		parent = BPF_CORE_READ(up, cgroup);
		a.parent = BPF_CORE_READ(parent, kn, id);
		a.removed = !(BPF_CORE_READ(cg, self.flags) & CSS_ONLINE);
		if (!bpf_map_lookup_elem(&ancestries, &id) &&
		    bpf_map_update_elem(&ancestries, &id, &a, BPF_NOEXIST) &&
		    !bpf_map_lookup_elem(&ancestries, &id))
			return -1;
		cg = parent;
	}
	return -1;
}

/* A cgroup's histogram begins empty; too large for the stack. */
static const struct waits none;

/* Make the entries of a struct cgroup, if there is room. */
__noinline int make_entry(__u64 of, __u64 id)
{
	struct usage zero = {};

	if (record_ancestry(of))
		return -1;
	/* Another CPU may have been faster. */
	if (bpf_map_update_elem(&usages, &id, &zero, BPF_NOEXIST) && !bpf_map_lookup_elem(&usages, &id))
		return -1;
	if (count_waits)
		bpf_map_update_elem(&waiting, &id, &none, BPF_NOEXIST);
	return 0;
}

/* Put what this CPU's slot has gathered into its cgroup's entries. */
__noinline int settle(__u32 index)
{
	struct cpu *c = this_cpu();
	struct waits *w;
	struct usage *u;
	struct slot *s;
	__u64 id;

	if (!c)
		return -1;
	s = &c->slots[index & (SLOTS - 1)];
	id = s->id;
	if (!id)
		return 0;
	u = bpf_map_lookup_elem(&usages, &id);
	if (!u)
		u = &c->overflow;
	u->ns += s->ns;
	u->switches += s->switches;
	u->cycles += s->cycles;
	u->instructions += s->instructions;
	s->ns = 0;
	s->switches = 0;
	s->cycles = 0;
	s->instructions = 0;
	if (!count_waits)
		return 0;
	w = bpf_map_lookup_elem(&waiting, &id);
	if (!w)
		w = &c->waits;
	__sync_fetch_and_add(&w->ns, s->waited);
	s->waited = 0;
	for (int i = 0; i < BUCKETS; i++) {
		if (s->waits[i])
			__sync_fetch_and_add(&w->counts[i], s->waits[i]);
		s->waits[i] = 0;
	}
	return 0;
}

/* Give this CPU's slot to a struct cgroup. If there is no room for an entry,
 * settle() will find none. */
__noinline int claim(__u64 of, __u64 id)
{
	struct cpu *c = this_cpu();
	__u32 index = id & (SLOTS - 1);

	if (!c)
		return -1;
	settle(index);
	c->slots[index].id = id;
	if (!bpf_map_lookup_elem(&usages, &id))
		make_entry(of, id);
	return 0;
}

/* A pointer as a number, which the verifier does not know for a pointer. */
static __always_inline __u64 number(struct cgroup *cg)
{
	__u64 n = 0;

	bpf_probe_read_kernel(&n, sizeof(n), &cg);
	return n;
}

/* The usage entry of a cgroup, made if there is room; NULL if there is none. */
static __always_inline struct usage *entry_of(struct cgroup *cg, __u64 id)
{
	struct usage *u = bpf_map_lookup_elem(&usages, &id);

	if (u)
		return u;
	make_entry(number(cg), id);
	return bpf_map_lookup_elem(&usages, &id);
}

static __always_inline struct slot *slot_of(struct cpu *c, struct cgroup *cg, __u64 id)
{
	struct slot *s = &c->slots[id & (SLOTS - 1)];

	if (s->id != id)
		claim(number(cg), id);
	return s;
}

#endif
