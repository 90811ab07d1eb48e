/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Bytes that tasks did: user space finds the living, the exit charges the rest. */
#ifndef CAM_IO_H
#define CAM_IO_H

#include "account.h"

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

/* Bytes that a task did which are not to be charged where it exits. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct task_key);
	__type(value, struct task_bytes);
} settled SEC(".maps");

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

#endif
