/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Tasks that change their cgroup. All of it runs only when one does, apart from
 * one comparison at each fork.
 */
#ifndef CAM_MOVES_H
#define CAM_MOVES_H

#include "io.h"

/* Threads of a moved process whose bytes are recorded. */
#define MAX_THREADS 512
/* A thread that was moved alone, in the keys of homes. */
#define ALONE (1ULL << 32)

enum {
	MOVE_THREAD = 0, /* another thread of a moved process; only for its bytes */
	MOVE = 1,
	MOVE_FORK = 2,
};

struct move {
	__u64 at; /* CLOCK_BOOTTIME */
	__u64 from; /* 0: not known */
	__u64 to;
	struct task_key key;
	struct task_bytes bytes; /* done up to now */
	__u32 kind;
	__u32 process;
	__u32 by;
	char command[COMM_LEN];
	char by_command[COMM_LEN];
	__u32 pad;
};

/* A multiple of every page size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 128 * 1024);
} moves SEC(".maps");

/* Moves that found the buffer full, ever. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} moves_lost SEC(".maps");

/*
 * Where a task is: when the kernel says that it has been moved, it does not
 * know any more where from. By process, or by thread with ALONE, for those that
 * were moved alone. What was there too long ago is forgotten.
 *
 * A program before the move (fentry) would see the source; but that takes
 * trampolines, which arm64 has since 6.0, and some machines forbid.
 */
struct home {
	__u64 cgroup;
	__u64 from;  /* where it was before; 0: not known */
	__u64 start; /* of the task: a pid is used again */
	__u64 moved; /* CLOCK_MONOTONIC; 0: never */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct home);
} homes SEC(".maps");

/* What is known of a thread: the newer of its own and its process's. */
static __always_inline struct home *home_of(__u64 process, __u64 tid)
{
	struct home *p = bpf_map_lookup_elem(&homes, &process), *t;

	tid |= ALONE;
	t = bpf_map_lookup_elem(&homes, &tid);
	return t && (!p || t->moved > p->moved) ? t : p;
}

/*
 * How many moves there were. What ran on a CPU when a task was moved is what
 * the next switch there, or look, charges: only that one needs to ask whether it
 * was the one.
 */
volatile __u64 moves_made;

static __always_inline bool moves_since(struct cpu *c)
{
	__u64 made = moves_made;

	if (c->moves == made)
		return 0;
	c->moves = made;
	return 1;
}

/*
 * What ran may have been moved meanwhile: if so, charge its time before that to
 * where it was, and take it off. Cycles are split like the time.
 */
static __noinline int charge_source(struct cpu *c, __u64 process, __u64 tid, struct spent *used)
{
	struct home *h = home_of(process, tid);
	__u64 from = c->last - used->ns;
	__u64 id, part, whole, share, cycles, instructions;
	struct usage *u;

	if (!h || !h->from || h->moved <= from || h->moved > c->last)
		return 0;
	id = h->from;
	part = h->moved - from;
	whole = (used->ns >> 10) + 1;
	share = part >> 10;
	cycles = used->cycles / whole * share;
	instructions = used->instructions / whole * share;
	used->ns -= part;
	used->cycles -= cycles;
	used->instructions -= instructions;
	u = bpf_map_lookup_elem(&usages, &id);
	if (!u)
		u = &c->overflow;
	u->ns += part;
	u->cycles += cycles;
	u->instructions += instructions;
	return 0;
}

/* A function of its own puts the record's type into the object's BTF. */
static __noinline int send(struct move *m)
{
	__u32 zero = 0;
	__u64 *lost;

	m->at = bpf_ktime_get_boot_ns();
	if (!bpf_ringbuf_output(&moves, m, sizeof(*m), BPF_RB_NO_WAKEUP))
		return 0;
	lost = bpf_map_lookup_elem(&moves_lost, &zero);
	if (lost && m->kind != MOVE_THREAD)
		__sync_fetch_and_add(lost, 1);
	return 0;
}

/* Another thread of a process that was moved, for its bytes. */
__noinline int send_thread(__u64 thread, __u64 from, __u64 to, __u64 process)
{
	struct task_struct *t = (void *)thread;
	struct move m = {.kind = MOVE_THREAD, .from = from, .to = to, .process = process};

	m.bytes.read = BPF_CORE_READ(t, ioac.read_bytes);
	m.bytes.written = BPF_CORE_READ(t, ioac.write_bytes);
	m.key.start = BPF_CORE_READ(t, start_time);
	m.key.tid = (__u32)BPF_CORE_READ(t, pid);
	if (m.key.tid != m.process && (m.bytes.read || m.bytes.written))
		send(&m);
	return 0;
}

static __always_inline void send_threads(struct task_struct___sched *leader, struct move *m)
{
	__u64 head = (__u64)BPF_CORE_READ(leader, signal) + bpf_core_field_offset(struct signal_struct, thread_head);
	__u64 node = (__u64)BPF_CORE_READ(leader, signal, thread_head.next);

	for (int i = 0; i < MAX_THREADS && node && node != head; i++) {
		send_thread(node - bpf_core_field_offset(struct task_struct___sched, thread_node), m->from, m->to,
			    m->process);
		node = (__u64)BPF_CORE_READ((struct list_head *)node, next);
	}
}

static __always_inline void describe(struct move *m, struct task_struct *task)
{
	struct task_struct___sched *t = (void *)task;

	m->key.start = task->start_time;
	m->key.tid = (__u32)task->pid;
	m->process = t->tgid;
	if (bpf_core_field_exists(task->ioac.read_bytes)) {
		m->bytes.read = task->ioac.read_bytes;
		m->bytes.written = task->ioac.write_bytes;
	}
	bpf_probe_read_kernel_str(m->command, sizeof(m->command), t->comm);
	m->by = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(m->by_command, sizeof(m->by_command));
}

/* Once a move has succeeded (cgroup_attach_task in kernel/cgroup/cgroup.c). */
SEC("tp_btf/cgroup_attach_task")
int cgroup_attach_task(__u64 *ctx)
{
	struct cgroup *to = (void *)ctx[0];
	struct task_struct *task = (void *)ctx[2];
	struct task_struct___sched *t = (void *)task;
	bool whole = (__u8)ctx[3];
	struct move m = {.kind = MOVE};
	struct home now = {}, *had;
	__u64 key;

	/* The ids of version 1 hierarchies are another name space. */
	if (to->root != task->cgroups->dfl_cgrp->root)
		return 0;
	now.cgroup = m.to = to->kn->id;
	now.start = task->start_time;
	now.moved = bpf_ktime_get_ns();
	key = (__u32)t->tgid;
	had = whole ? bpf_map_lookup_elem(&homes, &key) : home_of(key, (__u32)task->pid);
	if (had && (had->start == now.start || had->start == t->group_leader->start_time))
		m.from = had->cgroup;
	if (m.from == m.to)
		return 0; /* it is where it was */
	if (!whole)
		key = (__u32)task->pid | ALONE;
	now.from = m.from;
	bpf_map_update_elem(&homes, &key, &now, BPF_ANY);
	__sync_fetch_and_add(&moves_made, 1);
	entry_of(to, m.to);
	describe(&m, task);
	send(&m);
	if (whole && bpf_core_field_exists(task->ioac.read_bytes))
		send_threads(t, &m);
	return 0;
}

/* After cgroup_post_fork, so that the child is where it is born. */
SEC("tp_btf/sched_process_fork")
int sched_process_fork(__u64 *ctx)
{
	struct task_struct *parent = (void *)ctx[0];
	struct task_struct *child = (void *)ctx[1];
	struct task_struct___sched *t = (void *)child;
	struct cgroup *from = parent->cgroups->dfl_cgrp;
	struct cgroup *to = child->cgroups->dfl_cgrp;
	struct move m = {.kind = MOVE_FORK};
	struct home h = {};
	__u64 key = (__u32)child->pid;

	m.to = to->kn->id;
	if (child->pid == t->tgid || to != t->group_leader->cgroups->dfl_cgrp) {
		h.cgroup = m.to;
		h.start = child->start_time;
		if (child->pid != t->tgid) {
			key |= ALONE;
			h.moved = bpf_ktime_get_ns();
		}
		bpf_map_update_elem(&homes, &key, &h, BPF_ANY);
	}
	if (from == to)
		return 0;
	/* clone3 with CLONE_INTO_CGROUP */
	m.from = from->kn->id;
	entry_of(from, m.from);
	entry_of(to, m.to);
	describe(&m, child);
	send(&m);
	return 0;
}

/* Run once: where all processes are that were there before. */
SEC("iter/task")
int find_homes(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct home h = {};
	__u64 key;

	if (!task || task->pid != ((struct task_struct___sched *)task)->tgid)
		return 0;
	key = (__u32)task->pid;
	h.cgroup = task->cgroups->dfl_cgrp->kn->id;
	h.start = task->start_time;
	bpf_map_update_elem(&homes, &key, &h, BPF_NOEXIST);
	return 0;
}

#endif
