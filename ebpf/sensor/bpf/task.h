/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What only the scheduler's programs read, beside kernel.h. CO-RE cuts the
 * names at the three underscores.
 */
#ifndef CAM_TASK_H
#define CAM_TASK_H

#include "kernel.h"

#define COMM_LEN 16 /* TASK_COMM_LEN, include/linux/sched.h */

enum {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum {
	BPF_RB_NO_WAKEUP = 1,
};
#define BPF_F_CURRENT_CPU 0xffffffffULL

/* include/uapi/linux/bpf.h */
struct bpf_perf_event_value {
	__u64 counter;
	__u64 enabled;
	__u64 running;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
};

struct signal_struct {
	struct list_head thread_head;
};

struct sched_info {
	unsigned long long last_queued;
};

/* kernel/sched/sched.h */
struct rq {
	__u64 clock;
};

struct cfs_rq {
	struct rq *rq;
};

struct sched_entity {
	struct cfs_rq *cfs_rq;
};

struct task_struct___sched {
	int pid;
	int tgid;
	char comm[COMM_LEN];
	struct task_struct *group_leader;
	struct signal_struct *signal;
	struct list_head thread_node;
	struct sched_entity se;
	struct sched_info sched_info;
};

#pragma clang attribute pop

#endif
