/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What cgroups did to disks: bytes, requests and their latency, charged when a
 * request completes. Everything is in the request itself, so that its start
 * needs no program and no map.
 *
 * Completions come in interrupts, in soft interrupts and from threads, and one
 * may interrupt another on the same CPU (kernels before 5.19 then nest the
 * program): hence preallocated maps and atomic additions to per-CPU values.
 */
#include "request.h"
#include "../../include/ancestry.h"

/* ebpf/histogram */
#define BUCKETS 26
/* Bios of a request that are told apart where the kernel merges those of
 * several cgroups. */
#define MAX_BIOS 64

/* As in block.go. */
enum { READ, WRITE, FLUSH, DISCARD, OTHER };

struct io_key {
	__u64 cgroup;
	__u32 dev; /* as dev_t is in the kernel: 12 bits of major, 20 of minor */
	__u32 op;
};

struct io_usage {
	__u64 bytes;
	__u64 ns;
	__u64 untimed; /* requests without a start time */
	__u64 counts[BUCKETS];
};

struct disk_name {
	char name[32];
};

/* Sizes are set by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct io_key);
	__type(value, struct io_usage);
} usages SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct io_usage);
} overflow SEC(".maps");

/* What disks were called when they got a key: they may be gone, or hidden,
 * when user space looks. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct disk_name);
} names SEC(".maps");

/* Whether a request may hold bios of several cgroups; the loader knows. */
enum { ONE_OWNER, MAY_DIFFER, TELL_APART };
volatile const __u32 owners;

static __always_inline __u32 operation(__u32 flags)
{
	__u32 op = flags & REQ_OP_MASK;

	if (op <= OP_DISCARD)
		return op; /* READ to DISCARD are the same numbers */
	if (IS_OP(op, enum req_op, REQ_OP_WRITE_ZEROES) ||
	    IS_OP(op, enum req_op, REQ_OP_SECURE_ERASE) ||
	    IS_OP(op, enum req_opf, REQ_OP_WRITE_ZEROES___opf) ||
	    IS_OP(op, enum req_opf, REQ_OP_SECURE_ERASE___opf))
		return DISCARD;
	if (IS_OP(op, enum req_op, REQ_OP_ZONE_APPEND) ||
	    IS_OP(op, enum req_opf, REQ_OP_ZONE_APPEND___opf) ||
	    IS_OP(op, enum req_opf, REQ_OP_WRITE_SAME___opf))
		return WRITE;
	return OTHER;
}

/* The cgroup that owns a bio; NULL for the root's, and for whatever has none. */
static __always_inline struct cgroup *owner(struct bio *bio)
{
	struct blkcg_gq *blkg;
	struct cgroup *cg;

	if (!bio || !bpf_core_field_exists(bio->bi_blkg))
		return 0;
	blkg = bio->bi_blkg;
	if (!blkg)
		return 0;
	cg = blkg->blkcg->css.cgroup;
	if (!cg || !version2(cg))
		return 0;
	return cg;
}

/* The account of a key that has none yet: a new one, or the overflow. */
static __noinline struct io_usage *new_account(struct io_key *key, struct bio *bio, struct gendisk *disk)
{
	struct io_usage zero = {}, *u;
	struct disk_name name = {};
	__u32 first = 0;

	/* Read, not followed: as a number it may be given to another function. */
	if (key->cgroup != ROOT_ID && record_ancestry((__u64)BPF_CORE_READ(bio, bi_blkg, blkcg, css.cgroup)))
		goto full;
	bpf_probe_read_kernel(&name.name, sizeof(name.name), &disk->disk_name);
	bpf_map_update_elem(&names, &key->dev, &name, BPF_ANY);
	/* Another CPU may have been faster; the lookup decides. */
	bpf_map_update_elem(&usages, key, &zero, BPF_NOEXIST);
	u = bpf_map_lookup_elem(&usages, key);
	if (u)
		return u;
full:
	return bpf_map_lookup_elem(&overflow, &first);
}

static __always_inline struct io_usage *account(struct io_key *key, struct bio *bio, struct gendisk *disk)
{
	struct cgroup *cg = owner(bio);
	struct io_usage *u;

	key->cgroup = cg ? cg->kn->id : ROOT_ID;
	u = bpf_map_lookup_elem(&usages, key);
	return u ? u : new_account(key, bio, disk);
}

/* The bucket of ebpf/histogram: its bound is 1000 << bucket ns. */
static __always_inline __u32 bucket(__u64 ns)
{
	__u32 b = 0;

	if (ns >= 1000ULL << (BUCKETS - 2))
		return BUCKETS - 1;
	if (ns >= 1000ULL << 16) {
		ns >>= 16;
		b += 16;
	}
	if (ns >= 1000 << 8) {
		ns >>= 8;
		b += 8;
	}
	if (ns >= 1000 << 4) {
		ns >>= 4;
		b += 4;
	}
	if (ns >= 1000 << 2) {
		ns >>= 2;
		b += 2;
	}
	if (ns >= 1000 << 1) {
		ns >>= 1;
		b += 1;
	}
	return ns >= 1000 ? b + 1 : b;
}

/*
 * From when the driver got the request, which the kernel notes where a queue
 * keeps statistics (writeback throttling, kyber, io.latency, io.cost); else
 * from when the request was made, time in the scheduler included; else, with
 * queue/iostats off and no scheduler, there is no time at all.
 */
static __always_inline void count(struct io_usage *u, struct request *rq)
{
	__u64 start = rq->io_start_time_ns;
	__s64 ns;
	__u32 b;

	if (!start)
		start = rq->start_time_ns;
	if (!start) {
		__sync_fetch_and_add(&u->untimed, 1);
		return;
	}
	ns = bpf_ktime_get_ns() - start;
	if (ns < 0)
		ns = 0;
	b = bucket(ns);
	if (b >= BUCKETS) /* for the verifier */
		return;
	__sync_fetch_and_add(&u->ns, ns);
	__sync_fetch_and_add(&u->counts[b], 1);
}

/*
 * Kernels without blk_cgroup_mergeable() (before 5.18, and before 5.10.110 and
 * 5.15.33 of the long-lived ones) put bios of several cgroups into one request.
 * Each bio's bytes go to its owner. The request itself is the first one's, and
 * so are the bytes beyond MAX_BIOS. Returns the bytes that are not charged yet.
 */
static __noinline __u32 charge_bios(struct request *rq, struct io_key *key, struct gendisk *disk, __u32 bytes)
{
	struct bio *bio = rq->bio;

	for (int i = 0; i < MAX_BIOS && bio && bytes; i++) {
		__u32 n = bio->bi_iter.bi_size;
		struct io_usage *u;

		if (n > bytes)
			n = bytes;
		u = account(key, bio, disk);
		if (!u)
			break;
		__sync_fetch_and_add(&u->bytes, n);
		bytes -= n;
		bio = bio->bi_next;
	}
	return bytes;
}

static __always_inline bool mixed(struct request *rq, struct bio *bio)
{
	struct bio *tail;

	if (owners == ONE_OWNER || !bio || !bpf_core_field_exists(bio->bi_blkg))
		return 0;
	tail = rq->biotail;
	return tail && bio != tail && (owners == TELL_APART || bio->bi_blkg != tail->bi_blkg);
}

SEC("tp_btf/block_rq_complete")
int block_rq_complete(__u64 *ctx)
{
	struct request *rq = (void *)ctx[0];
	__u32 bytes = ctx[2];
	struct bio *bio = rq->bio;
	struct gendisk *disk;
	struct io_usage *u;
	struct io_key key;
	bool last;

	key.op = operation(rq->cmd_flags);
	/*
	 * A write with a flush before or after it ends twice (block/blk-flush.c):
	 * with its data, and with nothing when all is done. The device's flush is
	 * a request of its own, shared by all who wait for it: it has no bio.
	 */
	if (!bytes && key.op <= WRITE)
		return 0;
	disk = disk_of(rq);
	if (!disk)
		return 0; /* a command to a controller */
	key.dev = (__u32)disk->major << MINORBITS | (__u32)disk->first_minor;
	/* A request may complete in parts. */
	last = bytes >= rq->__data_len;
	if (mixed(rq, bio))
		bytes = charge_bios(rq, &key, disk, bytes);
	u = account(&key, bio, disk);
	if (!u)
		return 0;
	if (bytes)
		__sync_fetch_and_add(&u->bytes, bytes);
	if (last)
		count(u, rq);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int cgroup_rmdir(__u64 *ctx)
{
	struct cgroup *cg = (void *)ctx[0];
	struct ancestry *a;
	__u64 id;

	if (!version2(cg))
		return 0;
	id = cg->kn->id;
	a = bpf_map_lookup_elem(&ancestries, &id);
	if (a)
		a->removed = 1;
	return 0;
}

/* The kernel lends its tracing calls only to programs under the GPL. */
char _license[] SEC("license") = "GPL";
