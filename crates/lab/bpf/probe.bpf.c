// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The counters of the laboratory: BPF programs on BTF tracepoints (tp_btf; Linux 5.8; supports 6.1
 * and later).
 *
 * They count events in the scope that user space writes into the maps: processes and files
 * (scope.h), sockets by cookie, networks by the inode number of their namespace. Sent bytes are
 * classified by the origin of their pages (pages.h).
 *
 * Limitations: copies in user space are not counted, nor are copies that a driver makes after its
 * start_xmit, as loopback does for pages of MSG_ZEROCOPY.
 *
 * Built by `build` in this directory. src/probe/layout.rs declares the order of the counters too.
 */
#include "pages.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { CALLS = 512, SUMS = 48, OWN = 8, HOLES = 16 };

/* Value of a process: its slot, and a flag that is set between its marks. */
enum { SLOT = 0xff, ARMED = 0x100 };

/* Counters per process. */
enum { VOLUNTARY, INVOLUNTARY, FAULTS_USER, FAULTS_KERNEL, RECEIVES, RECEIVED, LOOKUPS, FUNCTION_BYTES };

/* Counters of three groups of packets, then those of the disk. */
enum { WIRE = 0, RETRANSMITTED = GROUP, LOCAL = 2 * GROUP, READS = 3 * GROUP, READ_BYTES, WRITES, WRITE_BYTES };

/* A socket: the end of the sent sequence numbers, if has_sent, and the holes before it. */
struct hole { __u32 start, end; };
struct socket { __u64 has_sent, end, next; struct hole holes[HOLES]; };

struct sums { __u64 of[SUMS]; };
struct own { __u64 of[OWN]; };
struct call { __u64 calls, bytes, eagain; };
struct calls { struct call of[CALLS]; };

MAP(MARKS, MAP_ARRAY, 2, __u32, __u64);
MAP(SOCKETS, MAP_HASH, 64, __u64, struct socket);
MAP(NETWORKS, MAP_HASH, 8, __u32, __u64);
MAP(THREADS, MAP_HASH, 256, __u32, __u64);
MAP(SUMS_OF_ALL, MAP_PERCPU_ARRAY, 1, __u32, struct sums);
MAP(SUMS_OF_OWN, MAP_PERCPU_ARRAY, SLOTS, __u32, struct own);
MAP(SYSTEM_CALLS, MAP_PERCPU_ARRAY, SLOTS, __u32, struct calls);

/* Returns the counters of a process; null if it is not armed. */
INLINE struct own *own_of(__u64 *found)
{
	if (!found || !(*found & ARMED))
		return 0;
	__u32 slot = *found & SLOT;
	return bpf_map_lookup_elem(&SUMS_OF_OWN, &slot);
}

INLINE struct sums *sums(void)
{
	__u32 first = 0;
	return bpf_map_lookup_elem(&SUMS_OF_ALL, &first);
}

#define COUNT_OWN(found, what, value)            \
	({                                       \
		struct own *own = own_of(found); \
		if (own)                         \
			ADD(own->of[what], value); \
		0;                               \
	})

INLINE struct call *call_of(__u64 found, __u64 number)
{
	__u32 slot = found & SLOT;
	struct calls *calls = bpf_map_lookup_elem(&SYSTEM_CALLS, &slot);
	if (!calls || number >= CALLS)
		return 0;
	/* The verifier needs the bound on the register that is used. */
	__asm__ volatile("" : "+r"(number));
	return &calls->of[number & (CALLS - 1)];
}

SEC("tp_btf/sys_enter") int sys_enter(__u64 *context)
{
	__u64 *found = current_process(), number = context[1];
	if (!found)
		return 0;
	__u32 first = 0, second = 1, thread = bpf_get_current_pid_tgid();
	__u64 *begin = bpf_map_lookup_elem(&MARKS, &first);
	__u64 *end = bpf_map_lookup_elem(&MARKS, &second);
	if (begin && number == *begin) {
		*found |= ARMED;
		return 0;
	}
	if (end && number == *end) {
		*found &= ~(__u64)ARMED;
		return 0;
	}
	struct call *call = *found & ARMED ? call_of(*found, number) : 0;
	if (call) {
		ADD(call->calls, 1);
		bpf_map_update_elem(&THREADS, &thread, &number, 0);
	}
	return 0;
}

/* The call number is stored per thread, because the layout of registers depends on the machine. */
SEC("tp_btf/sys_exit") int sys_exit(__u64 *context)
{
	__u64 *found = current_process();
	if (!found)
		return 0;
	__u32 thread = bpf_get_current_pid_tgid();
	__u64 *number = bpf_map_lookup_elem(&THREADS, &thread);
	if (!number)
		return 0;
	struct call *call = call_of(*found, *number);
	__s64 result = context[1];
	if (call && result > 0)
		ADD(call->bytes, result);
	if (call && result == -11)
		ADD(call->eagain, 1);
	bpf_map_delete_elem(&THREADS, &thread);
	return 0;
}

/* The current thread is the one that is switched out. */
SEC("tp_btf/sched_switch") int sched_switch(__u64 *context)
{
	__u64 *found = current_process();
	/* A runnable thread was preempted. */
	if (context[0] & 1 || (__u32)context[3] == 0)
		return COUNT_OWN(found, INVOLUNTARY, 1);
	return COUNT_OWN(found, VOLUNTARY, 1);
}

SEC("tp_btf/page_fault_user") int page_fault_user(__u64 *context)
{
	return COUNT_OWN(current_process(), FAULTS_USER, 1);
}

SEC("tp_btf/page_fault_kernel") int page_fault_kernel(__u64 *context)
{
	return COUNT_OWN(current_process(), FAULTS_KERNEL, 1);
}

/* Reading the error queue also runs this tracepoint, with 0 bytes. */
SEC("tp_btf/skb_copy_datagram_iovec") int skb_copy_datagram_iovec(__u64 *context)
{
	__u32 bytes = context[1];
	__u64 *found = current_process();
	if (bytes == 0)
		return 0;
	COUNT_OWN(found, RECEIVES, 1);
	return COUNT_OWN(found, RECEIVED, bytes);
}

/* Linux 6.5 and later: counts page cache lookups for files in the scope. */
SEC("tp_btf/mm_filemap_get_pages") int mm_filemap_get_pages(__u64 *context)
{
	__u64 *found = current_process();
	if (!found || !is_ours((void *)context[0]))
		return 0;
	return COUNT_OWN(found, LOOKUPS, 1);
}

/* Counts the bytes of a packet in one of the groups. */
INLINE void count(struct sk_buff *skb, int group, __u32 header)
{
	struct sums *to = sums();
	if (to)
		classify(skb, header, &to->of[group]);
}

/* Returns the state of a socket; null if it is not in the scope. */
INLINE struct socket *in_scope(struct sock *sk)
{
	if (!sk)
		return 0;
	__u64 cookie = READ(sk, __sk_common.skc_cookie.counter);
	return cookie ? bpf_map_lookup_elem(&SOCKETS, &cookie) : 0;
}

/* Returns whether a TCP packet is a retransmission. First transmissions pass in order. A packet
 * dropped above this layer leaves a hole, and fills it when it is sent at last. */
INLINE int is_retransmission(struct socket *socket, struct headers *headers, __u32 payload)
{
	__u32 start = headers->sequence, end = start + payload;
	if (!headers->is_tcp || !payload)
		return 0;
	if (!socket->has_sent || (int)(end - (__u32)socket->end) > 0) {
		if (socket->has_sent && (int)(start - (__u32)socket->end) > 0) {
			struct hole *hole = &socket->holes[socket->next & (HOLES - 1)];
			hole->start = socket->end;
			hole->end = start;
			socket->next++;
		}
		socket->end = end;
		socket->has_sent = 1;
		return 0;
	}
	for (int i = 0; i < HOLES; i++) {
		struct hole *hole = &socket->holes[i];
		if (hole->start == hole->end || (int)(end - hole->start) <= 0 ||
		    (int)(start - hole->end) >= 0)
			continue;
		hole->start = (int)(end - hole->end) < 0 ? end : hole->end;
		return 0;
	}
	return 1;
}

/* Runs after software segmentation and linearisation, before the driver: the memory that a device
 * would read by DMA. */
SEC("tp_btf/net_dev_start_xmit") int net_dev_start_xmit(__u64 *context)
{
	struct sk_buff *skb = (void *)context[0];
	struct net_device *device = (void *)context[1];
	struct net *net = READ(device, nd_net.net);
	__u32 network = READ(net, ns.inum);
	struct socket *socket = in_scope(READ(skb, sk));
	if (!socket && !bpf_map_lookup_elem(&NETWORKS, &network))
		return 0;
	struct headers found = headers(skb);
	if (socket && is_retransmission(socket, &found, READ(skb, len) - found.length))
		count(skb, RETRANSMITTED, found.length);
	else
		count(skb, WIRE, found.length);
	return 0;
}

/* A UNIX socket has no device: runs when the receiver has consumed a whole packet. */
SEC("tp_btf/consume_skb") int consume_skb(__u64 *context)
{
	struct sk_buff *skb = (void *)context[0];
	struct sock *sk = READ(skb, sk);
	if (sk && READ(sk, __sk_common.skc_family) == 1 && in_scope(sk))
		count(skb, LOCAL, 0);
	return 0;
}

/* Counts the bytes of a request that belong to files in the scope; `sign` is -1 to undo it. */
INLINE int request_of_ours(struct request *request, __s64 sign)
{
	__u32 wanted = operation(request);
	__u64 bytes = wanted > 1 ? 0 : bytes_of_ours(request);
	struct sums *to = bytes ? sums() : 0;
	if (!to)
		return 0;
	if (wanted == 0) {
		ADD(to->of[READS], sign);
		ADD(to->of[READ_BYTES], sign * bytes);
	} else {
		ADD(to->of[WRITES], sign);
		ADD(to->of[WRITE_BYTES], sign * bytes);
	}
	return 0;
}

/* Counts by file, not by process: a process may issue requests queued by another one. */
SEC("tp_btf/block_rq_issue") int block_rq_issue(__u64 *context)
{
	return request_of_ours((void *)context[0], 1);
}

/* The device queue was full; the request will be issued again. */
SEC("tp_btf/block_rq_requeue") int block_rq_requeue(__u64 *context)
{
	return request_of_ours((void *)context[0], -1);
}

/* Tier T3, if function hooks are permitted: the bytes copied from the page cache. */
SEC("fexit/filemap_read") int filemap_read(__u64 *context)
{
	__u64 *found = current_process();
	struct iov_iter *to = (void *)context[1];
	__s64 copied = context[3];
	if (copied <= 0)
		return 0;
	/* Up to Linux 6.4 sendfile uses it to pass pages into a pipe, without a copy. */
	if (ENUM(iter_type, ITER_PIPE, EXISTS) && READ(to, iter_type) == ENUM(iter_type, ITER_PIPE, VALUE))
		return 0;
	return COUNT_OWN(found, FUNCTION_BYTES, copied);
}
