/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The few kernel types that the programs read, cut down to the fields in use;
 * the loader finds each field's true offset in the running kernel (CO-RE).
 */
#ifndef CAM_NETWORK_KERNEL_H
#define CAM_NETWORK_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;
typedef _Bool bool;

/* include/uapi/linux/bpf.h */
enum {
	BPF_MAP_TYPE_PERCPU_HASH = 5,
};
enum {
	BPF_F_NO_PREALLOC = 1,
};

/* Fields in use: the layout is the kernel's promise. */
struct __sk_buff {
	__u32 len;
	__u32 others[43];
	__u32 gso_size; /* at 176 */
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* include/uapi/linux/in.h */
#define IPPROTO_HOPOPTS 0
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
/* include/net/tcp_states.h */
#define TCP_SYN_SENT 2
#define TCP_CLOSE 7
/* include/uapi/asm-generic/errno.h; mips has 146, and no support here. */
#define ECONNREFUSED 111

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

/* Linux 5.15 and later. */
struct sock_cgroup_data {
	struct cgroup *cgroup;
};

/* Before: a pointer with flags in its low bits, or network classes. */
struct sock_cgroup_data___before_5_15 {
	__u64 val;
};

struct sock {
	int sk_err;
	struct sock_cgroup_data sk_cgrp_data;
};

#pragma clang attribute pop

#endif
