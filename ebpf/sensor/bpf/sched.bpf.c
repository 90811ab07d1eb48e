/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * On-CPU time, switches, waits, cycles and I/O bytes per cgroup.
 *
 * Each CPU gathers in a few slots of its own and settles them into hashes when
 * a slot is needed for another cgroup, or when user space looks. A switch
 * between cgroups that have a slot touches no hash at all.
 *
 * Scheduler context: interrupts are off and the run queue is locked, so maps
 * are preallocated and every loop is short.
 */
#include "account.h"
#include "io.h"
#include "moves.h"

/* Counters of each CPU, where there are any. The loader sets the sizes. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} cycle_events SEC(".maps"), instruction_events SEC(".maps");

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

/* What a counter counted since last; one that began anew counts from here. */
static __always_inline __u64 counted(__u64 now, __u64 *last)
{
	__u64 had = *last;

	*last = now;
	return had && now > had ? now - had : 0;
}

static __noinline int read_counters(struct cpu *c, struct spent *p, int looking)
{
	struct bpf_perf_event_value v = {};

	p->cycles = p->instructions = 0;
	if (!bpf_perf_event_read_value(&cycle_events, BPF_F_CURRENT_CPU, &v, sizeof(v)))
		p->cycles = counted(v.counter, &c->cycles);
	if (looking) {
		/* An event dies with its CPU and does not come back with it. */
		c->stopped = v.enabled == c->enabled;
		c->enabled = v.enabled;
	}
	if (!bpf_perf_event_read_value(&instruction_events, BPF_F_CURRENT_CPU, &v, sizeof(v)))
		p->instructions = counted(v.counter, &c->instructions);
	return 0;
}

/* Of ebpf/histogram.Log2: 0 below 1 µs, i from 2^(i-1) to below 2^i µs. */
static __always_inline __u64 bucket(__u64 ns)
{
	/* Exact below 2^32, and cheaper than a division. */
	__u64 us = ns >> 32 ? ns / 1000 : (ns * 274877907) >> 38;
	__u64 b = 0;

	if (us >> (BUCKETS - 2))
		return BUCKETS - 1;
	if (us >> 16) {
		b += 16;
		us >>= 16;
	}
	if (us >> 8) {
		b += 8;
		us >>= 8;
	}
	if (us >> 4) {
		b += 4;
		us >>= 4;
	}
	if (us >> 2) {
		b += 2;
		us >>= 2;
	}
	/* us is 0 to 3 now */
	return b + us - (us >> 1 & us);
}

/*
 * How long next was ready to run. Its run queue's clock was set a moment ago
 * (update_rq_clock in __schedule), and sched_info_arrive (kernel/sched/stats.h)
 * adds the very same difference to its run_delay a moment later: so no program
 * at wake-ups is needed. The way to the run queue is there for tasks of every
 * class (set_task_rq), in kernels with CONFIG_FAIR_GROUP_SCHED.
 *
 * The kernel sets last_queued when a task is put into the queue and when it is
 * preempted (sched_info_depart), so that both begin a wait. When a waiting task
 * migrates it begins anew (sched_info_dequeue): what it waited elsewhere before
 * is in its run_delay, and not here. It is 0 for what was not queued.
 */
static __always_inline void count_wait(struct cpu *c, struct task_struct *task)
{
	struct task_struct___sched *next = (void *)task;
	__u64 queued = next->sched_info.last_queued;
	struct cgroup *cg;
	struct slot *s;
	__s64 wait;
	__u64 b;

	if (!queued)
		return;
	wait = next->se.cfs_rq->rq->clock - queued;
	if (wait < 0)
		wait = 0;
	cg = task->cgroups->dfl_cgrp;
	s = slot_of(c, cg, cg->kn->id);
	s->waited += wait;
	b = bucket(wait);
	if (b < BUCKETS)
		s->waits[b]++;
}

/* Charge a cgroup with what its task spent. */
static __always_inline void charge(struct slot *s, struct spent *p)
{
	s->ns += p->ns;
	if (count_cycles) {
		s->cycles += p->cycles;
		s->instructions += p->instructions;
	}
}

SEC("tp_btf/sched_switch")
int sched_switch(__u64 *ctx)
{
	struct task_struct *prev = (void *)ctx[1];
	struct task_struct *next = (void *)ctx[2];
	struct cpu *c = this_cpu();
	struct spent spent;
	struct cgroup *cg;
	struct slot *s;
	__s64 delta;
	bool moved;
	__u64 id;

	if (!c)
		return 0;
	delta = advance(c);
	if (delta < 0)
		return 0;
	spent.ns = delta;
	moved = moves_since(c);
	if (count_cycles)
		read_counters(c, &spent, 0);
	else
		spent.cycles = spent.instructions = 0;
	if (!prev->pid) {
		c->idle += delta;
	} else {
		cg = prev->cgroups->dfl_cgrp;
		id = cg->kn->id;
		if (moved)
			charge_source(c, ((struct task_struct___sched *)prev)->tgid, prev->pid, &spent);
		s = slot_of(c, cg, id);
		charge(s, &spent);
		s->switches++;
	}
	if (count_waits && next->pid)
		count_wait(c, next);
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
	struct task_struct___sched *t = (void *)task;
	struct cpu *c = this_cpu();
	struct spent spent = {};
	__s64 delta;
	bool moved;

	if (!c)
		return 0;
	delta = advance(c);
	if (count_cycles)
		read_counters(c, &spent, 1);
	moved = moves_since(c);
	if (delta > 0) {
		if (!BPF_CORE_READ(task, pid)) {
			c->idle += delta;
		} else {
			struct cgroup *cg = BPF_CORE_READ(task, cgroups, dfl_cgrp);

			spent.ns = delta;
			if (moved)
				charge_source(c, BPF_CORE_READ(t, tgid), BPF_CORE_READ(task, pid), &spent);
			charge(slot_of(c, cg, BPF_CORE_READ(cg, kn, id)), &spent);
		}
	}
	c->looked = c->last;
	c->looked_idle = c->idle;
	for (int i = 0; i < SLOTS; i++) {
		settle(i);
		c->slots[i].id = 0;
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

/* The kernel lends its tracing calls only to programs under the GPL. */
char _license[] SEC("license") = "GPL";
