/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * On-CPU time, switches and I/O bytes per cgroup.
 *
 * Each CPU gathers time in a few slots of its own and settles them into a
 * per-CPU hash when a slot is needed for another cgroup, or when user space
 * looks. A switch between cgroups that have a slot touches no hash at all.
 *
 * Scheduler context: interrupts are off and the run queue is locked, so maps
 * are preallocated and every loop is short.
 */
#include "kernel.h"

/* A power of two. Ids are handed out in sequence, so their low bits spread. */
#define SLOTS 16
/* Deeper cgroups than this are charged to the overflow account. */
#define MAX_DEPTH 64

struct usage {
	__u64 ns;
	__u64 switches;
	__u64 read;
	__u64 written;
};

struct slot {
	__u64 id; /* 0: free */
	__u64 ns;
	__u64 switches;
};

struct cpu {
	__u64 first; /* when this CPU was first seen, CLOCK_MONOTONIC */
	__u64 last;  /* charged up to here */
	__u64 idle;
	__u64 looked;      /* last, at the latest look */
	__u64 looked_idle; /* and idle: what comes after is the next look's */
	struct usage overflow;
	struct slot slots[SLOTS];
};

struct ancestry {
	__u64 parent;
	__u64 removed; /* the directory is gone */
};

struct task_key {
	__u64 start; /* task_struct.start_time: a pid is used again, this pair is not */
	__u64 tid;
};

struct task_bytes {
	__u64 read;
	__u64 written;
};

/* What the task iterator writes, once per task that ever did I/O. */
struct task_record {
	struct task_key key;
	__u64 cgroup;
	struct task_bytes bytes;
	__u64 exiting;
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

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct ancestry);
} ancestries SEC(".maps");

/* Bytes that a task did which are not to be charged where it exits. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct task_key);
	__type(value, struct task_bytes);
} settled SEC(".maps");

static __always_inline struct cpu *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpus, &zero);
}

/*
 * Record the chain from cg to the root. It comes before the usage entry, so
 * that user space, which reads in the opposite order, never sees an orphan.
 */
static __noinline int record_ancestry(struct cgroup *cg)
{
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

/* The usage entry of a cgroup, made if there is room; NULL if there is none. */
static __noinline struct usage *entry_of(struct cgroup *cg, __u64 id)
{
	struct usage *u = bpf_map_lookup_elem(&usages, &id);
	struct usage zero = {};

	if (u)
		return u;
	if (record_ancestry(cg))
		return 0;
	/* Another CPU may have been faster; the lookup decides. */
	bpf_map_update_elem(&usages, &id, &zero, BPF_NOEXIST);
	return bpf_map_lookup_elem(&usages, &id);
}

static __always_inline void settle(struct cpu *c, struct slot *s)
{
	__u64 id = s->id;
	struct usage *u;

	if (!s->ns && !s->switches)
		return;
	u = bpf_map_lookup_elem(&usages, &id);
	if (!u)
		u = &c->overflow;
	u->ns += s->ns;
	u->switches += s->switches;
	s->ns = 0;
	s->switches = 0;
}

/* Give the slot to cg. If the map is full, settle() will find no entry. */
static __noinline int claim(struct cpu *c, struct slot *s, struct cgroup *cg, __u64 id)
{
	if (s->id)
		settle(c, s);
	s->id = id;
	entry_of(cg, id);
	return 0;
}

/* Time since this CPU was last charged; -1 if it was not yet seen. */
static __always_inline __s64 advance(struct cpu *c)
{
	__u64 now = bpf_ktime_get_ns();
	__s64 delta = now - c->last;

	if (!c->last) {
		c->first = now;
		c->last = now;
		return -1;
	}
	/* The fast clock may step back a little at a timekeeping update. */
	if (delta < 0)
		return 0;
	c->last = now;
	return delta;
}

SEC("tp_btf/sched_switch")
int sched_switch(__u64 *ctx)
{
	struct task_struct *prev = (void *)ctx[1];
	struct cpu *c = this_cpu();
	struct cgroup *cg;
	struct slot *s;
	__s64 delta;
	__u64 id;

	if (!c)
		return 0;
	delta = advance(c);
	if (delta < 0)
		return 0;
	if (!prev->pid) {
		c->idle += delta;
		return 0;
	}
	cg = prev->cgroups->dfl_cgrp;
	id = cg->kn->id;
	s = &c->slots[id & (SLOTS - 1)];
	if (s->id != id)
		claim(c, s, cg, id);
	s->ns += delta;
	s->switches++;
	return 0;
}

/*
 * Never attached: user space runs it on every CPU before it reads, so that
 * what runs right now is charged up to now and no slot holds anything back.
 */
SEC("raw_tp/look")
int look(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct cpu *c = this_cpu();
	__s64 delta;

	if (!c)
		return 0;
	delta = advance(c);
	if (delta > 0) {
		if (!BPF_CORE_READ(task, pid)) {
			c->idle += delta;
		} else {
			struct cgroup *cg = BPF_CORE_READ(task, cgroups, dfl_cgrp);
			__u64 id = BPF_CORE_READ(cg, kn, id);
			struct slot *s = &c->slots[id & (SLOTS - 1)];

			if (s->id != id)
				claim(c, s, cg, id);
			s->ns += delta;
		}
	}
	c->looked = c->last;
	c->looked_idle = c->idle;
	for (int i = 0; i < SLOTS; i++) {
		struct slot *s = &c->slots[i];

		if (s->id)
			settle(c, s);
		s->id = 0;
	}
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int cgroup_rmdir(__u64 *ctx)
{
	struct cgroup *cg = (void *)ctx[0];
	struct task_struct *task = (void *)bpf_get_current_task();
	struct cgroup *own = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	struct ancestry *a;
	__u64 id;

	/* The ids of version 1 hierarchies are another name space. */
	if (cg->root != BPF_CORE_READ(own, root))
		return 0;
	id = cg->kn->id;
	a = bpf_map_lookup_elem(&ancestries, &id);
	if (a)
		a->removed = 1;
	return 0;
}

SEC("tp_btf/sched_process_exit")
int sched_process_exit(__u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	__u64 read = task->ioac.read_bytes;
	__u64 written = task->ioac.write_bytes;
	struct cpu *c = this_cpu();
	struct task_key key = {};
	struct task_bytes *had;
	struct cgroup *cg;
	struct usage *u;

	if (!c || (!read && !written))
		return 0;
	key.start = task->start_time;
	key.tid = (__u32)task->pid;
	had = bpf_map_lookup_elem(&settled, &key);
	if (had) {
		read -= had->read;
		written -= had->written;
		bpf_map_delete_elem(&settled, &key);
	}
	cg = task->cgroups->dfl_cgrp;
	u = entry_of(cg, cg->kn->id);
	if (!u)
		u = &c->overflow;
	/* Unlike the scheduler's, these adds may be preempted (PREEMPT_RT). */
	__sync_fetch_and_add(&u->read, read);
	__sync_fetch_and_add(&u->written, written);
	return 0;
}

/* A function of its own puts the record's type into the object's BTF. */
static __noinline int emit(struct seq_file *seq, struct task_record *r)
{
	return bpf_seq_write(seq, r, sizeof(*r));
}

SEC("iter/task")
int task_io(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_record r = {};

	if (!task)
		return 0;
	r.bytes.read = task->ioac.read_bytes;
	r.bytes.written = task->ioac.write_bytes;
	if (!r.bytes.read && !r.bytes.written)
		return 0;
	r.key.start = task->start_time;
	r.key.tid = (__u32)task->pid;
	r.cgroup = task->cgroups->dfl_cgrp->kn->id;
	r.exiting = !!(task->flags & PF_EXITING);
	emit(ctx->meta->seq, &r);
	return 0;
}

/* The kernel lends its tracing calls only to programs under the GPL. */
char _license[] SEC("license") = "GPL";
