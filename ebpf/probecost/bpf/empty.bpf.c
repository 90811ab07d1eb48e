/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What any program at sched_switch costs: the yardstick for the sensor's. */
#include "../../sensor/bpf/kernel.h"

SEC("tp_btf/sched_switch")
int empty(__u64 *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
