/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What any program at block_rq_complete costs: the yardstick for ours. */
#include "../../sensor/bpf/kernel.h"

SEC("tp_btf/block_rq_complete")
int empty(__u64 *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
