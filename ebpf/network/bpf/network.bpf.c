/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Bytes and packets of followed cgroups, and connections that were refused.
 *
 * The packet programs are attached to each followed cgroup and run for it and
 * for all below it. Which one a run is for, the kernel does not say; its depth
 * does: one pair of programs is loaded for each depth in use, and the ancestor
 * of the packet's socket at that depth is the followed cgroup. (Local storage
 * of cgroups would say it too, but goes with the cgroup, its last figures
 * included, and was read wrongly in interrupts by kernels 5.10 of before 2022.)
 */
#include "kernel.h"

/* Deeper cgroups than this have no refused connections. */
#define MAX_DEPTH 64

struct traffic {
	__u64 received_bytes;
	__u64 received_packets;
	__u64 sent_bytes;
	__u64 sent_packets;
	__u64 refused;
};

/* Depth of the followed cgroup below the root, which is 0. */
const volatile __u32 level = 1;

/*
 * By the followed cgroup's id. User space makes the entries and removes them;
 * they outlive the cgroup.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct traffic);
} traffics SEC(".maps");

static __always_inline struct traffic *traffic_of(struct __sk_buff *skb)
{
	__u64 id = bpf_skb_ancestor_cgroup_id(skb, level);

	return bpf_map_lookup_elem(&traffics, &id);
}

struct wire {
	__u64 bytes;
	__u64 packets;
};

/*
 * What a packet is on the wire, if the card (or the last step before it) cuts
 * it up, or has joined it: gso_size bytes of payload behind a copy of the
 * headers in each. Its own count, gso_segs, may be 0 for what comes from a
 * virtual machine (SKB_GSO_DODGY).
 */
static __noinline int cut(struct __sk_buff *skb, struct wire *w)
{
	__u32 size = skb->gso_size, len = skb->len, headers, extra = 0, n;
	__u8 b = 0, proto = 0;

	if (!size || bpf_skb_load_bytes(skb, 0, &b, 1))
		return 0;
	if (b >> 4 == 4) {
		headers = (b & 15) * 4;
		bpf_skb_load_bytes(skb, 9, &proto, 1);
	} else {
		headers = 40;
		bpf_skb_load_bytes(skb, 6, &proto, 1);
		/* The jumbo option of packets above 64 KiB, which goes when they are cut. */
		if (proto == IPPROTO_HOPOPTS) {
			extra = 8;
			bpf_skb_load_bytes(skb, 40, &proto, 1);
		}
	}
	if (proto == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, headers + extra + 12, &b, 1))
			return 0;
		headers += (b >> 4) * 4;
	} else if (proto == IPPROTO_UDP) {
		headers += 8;
	} else {
		return 0; /* a tunnel's: as it is */
	}
	if (len <= headers + extra)
		return 0;
	len -= headers + extra;
	n = (len + size - 1) / size;
	w->packets = n;
	w->bytes = (__u64)n * headers + len;
	return 0;
}

static __always_inline struct wire on_wire(struct __sk_buff *skb)
{
	struct wire w = {.bytes = skb->len, .packets = 1};

	if (skb->gso_size)
		cut(skb, &w);
	return w;
}

/*
 * Both programs let every packet through. Their adds are atomic since a packet
 * that is sent from a system call may be interrupted by one of the softirq's.
 */
SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	struct traffic *t = traffic_of(skb);

	if (t) {
		struct wire w = on_wire(skb);

		__sync_fetch_and_add(&t->received_bytes, w.bytes);
		__sync_fetch_and_add(&t->received_packets, w.packets);
	}
	return 1;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	struct traffic *t = traffic_of(skb);

	if (t) {
		struct wire w = on_wire(skb);

		__sync_fetch_and_add(&t->sent_bytes, w.bytes);
		__sync_fetch_and_add(&t->sent_packets, w.packets);
	}
	return 1;
}

/* The cgroup of a socket; NULL for the root, or for none that is known. */
static __always_inline struct cgroup *cgroup_of(struct sock *sk)
{
	struct sock_cgroup_data___before_5_15 *old;
	struct sock_cgroup_data *data = &sk->sk_cgrp_data;
	__u64 val;

	if (bpf_core_field_exists(data->cgroup))
		return BPF_CORE_READ(data, cgroup);
	old = (void *)data;
	val = BPF_CORE_READ(old, val);
	if (val & 1) /* is_data: net_cls or net_prio of version 1 have it */
		return 0;
	return (void *)(val & ~3ULL); /* no_refcnt is the other flag */
}

/* A connection attempt that ends with this error: in tcp_reset, tcp_v4_err. */
SEC("tp_btf/inet_sock_set_state")
int inet_sock_set_state(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct cgroup *cg;

	if ((__u32)ctx[1] != TCP_SYN_SENT || (__u32)ctx[2] != TCP_CLOSE || sk->sk_err != ECONNREFUSED)
		return 0;
	cg = cgroup_of(sk);
	for (int i = 0; i < MAX_DEPTH && cg; i++) {
		__u64 id = BPF_CORE_READ(cg, kn, id);
		struct traffic *t = bpf_map_lookup_elem(&traffics, &id);

		if (t)
			__sync_fetch_and_add(&t->refused, 1);
		cg = BPF_CORE_READ(cg, self.parent, cgroup);
	}
	return 0;
}

/* The kernel lends its tracing calls only to programs under the GPL. */
char _license[] SEC("license") = "GPL";
