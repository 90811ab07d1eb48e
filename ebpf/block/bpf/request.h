/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The block layer's types, cut down to the fields in use; see kernel.h. */
#ifndef CAM_REQUEST_H
#define CAM_REQUEST_H

#include "../../sensor/bpf/kernel.h"

/* include/linux/blk_types.h; an id of the file system of cgroup2: its root. */
#define REQ_OP_MASK 0xff
#define ROOT_ID 1
/* include/linux/kdev_t.h */
#define MINORBITS 20

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct gendisk {
	int major;
	int first_minor;
	char disk_name[32];
};

struct request_queue {
	struct gendisk *disk; /* since 5.15 */
};

struct blkcg {
	struct cgroup_subsys_state css;
};

struct blkcg_gq {
	struct blkcg *blkcg;
};

struct bvec_iter {
	unsigned int bi_size;
};

struct bio {
	struct bio *bi_next;
	struct bvec_iter bi_iter;
	struct blkcg_gq *bi_blkg; /* with CONFIG_BLK_CGROUP */
};

struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int __data_len;
	struct bio *bio;
	struct bio *biotail;
	__u64 start_time_ns;
	__u64 io_start_time_ns;
};

struct request___rq_disk {
	struct gendisk *rq_disk; /* until 5.16 */
};

#pragma clang attribute pop

/*
 * The first four have never changed since they were numbers of their own
 * (4.8). The others did, and the type's name with them: req_opf until 5.19.
 */
enum {
	OP_READ,
	OP_WRITE,
	OP_FLUSH,
	OP_DISCARD,
};

enum req_op {
	REQ_OP_SECURE_ERASE = 5,
	REQ_OP_ZONE_APPEND = 7,
	REQ_OP_WRITE_ZEROES = 9,
};

enum req_opf {
	REQ_OP_SECURE_ERASE___opf = 5,
	REQ_OP_WRITE_SAME___opf = 7,
	REQ_OP_WRITE_ZEROES___opf = 9,
	REQ_OP_ZONE_APPEND___opf = 13,
};

#define IS_OP(op, type, value)                                                 \
	(bpf_core_enum_value_exists(type, value) && (op) == bpf_core_enum_value(type, value))

static __always_inline struct gendisk *disk_of(struct request *rq)
{
	struct request___rq_disk *old = (void *)rq;

	if (bpf_core_field_exists(old->rq_disk))
		return old->rq_disk;
	return rq->q->disk;
}

#endif
