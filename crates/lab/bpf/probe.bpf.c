// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The counters of the laboratory: BPF programs on BTF tracepoints (tp_btf; Linux 5.8; meant
 * for 6.1 and later).
 *
 * They count what is in the scope that user space wrote into the maps: processes and files
 * (scope.h), sockets by cookie, networks by the inode number of their namespace. Bytes on their way
 * out are sorted by where their pages come from (pages.h).
 *
 * What they do badly: what a program in user space copies is not seen; nor is what a driver copies
 * behind its start_xmit, as loopback does with the pages of MSG_ZEROCOPY.
 *
 * Built by `build` beside it. The order of the counters is known to src/probe/layout.rs, too.
 */
#include "pages.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { CALLS = 512, SUMS = 48, OWN = 8, HOLES = 16 };

/* A process: its slot, and whether it is between its marks. */
enum { SLOT = 0xff, ARMED = 0x100 };

/* By process. */
enum { VOLUNTARY, INVOLUNTARY, FAULTS_USER, FAULTS_KERNEL, RECEIVES, RECEIVED, LOOKUPS, FUNCTION_BYTES };

/* Three groups of bytes, then the disk. */
enum { WIRE = 0, RETRANSMITTED = GROUP, LOCAL = 2 * GROUP, READS = 3 * GROUP, READ_BYTES, WRITES, WRITE_BYTES };

/* A socket: the sequence number behind all that has out, if any has, and what was out out. */
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

/* The counters of an armed process. */
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
	/* The verifier wants the bound on the register that is used. */
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

/* The number of the call is kept by thread, because the registers are told apart by machine. */
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

/* Who leaves is still the current one. */
SEC("tp_btf/sched_switch") int sched_switch(__u64 *context)
{
	__u64 *found = current_process();
	/* One that could go on was sent away. */
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

/* Reading the error queue is such a copy, too, of no bytes. */
SEC("tp_btf/skb_copy_datagram_iovec") int skb_copy_datagram_iovec(__u64 *context)
{
	__u32 bytes = context[1];
	__u64 *found = current_process();
	if (bytes == 0)
		return 0;
	COUNT_OWN(found, RECEIVES, 1);
	return COUNT_OWN(found, RECEIVED, bytes);
}

/* Linux 6.5 and later: whether a read went through the page cache of a file of ours. */
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

/* What is known of a socket in the scope. */
INLINE struct socket *in_scope(struct sock *sk)
{
	if (!sk)
		return 0;
	__u64 cookie = READ(sk, __sk_common.skc_cookie.counter);
	return cookie ? bpf_map_lookup_elem(&SOCKETS, &cookie) : 0;
}

/* Whether TCP sends nothing new. A socket's packets pass here in order for the first time; what
 * was dropped above and never in here leaves a hole, and fills it when it does come. */
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

/* Behind software segmentation and linearisation, before the driver: what a device would fetch. */
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

/* A UNIX socket has no device: what the receiver has taken in whole. */
SEC("tp_btf/consume_skb") int consume_skb(__u64 *context)
{
	struct sk_buff *skb = (void *)context[0];
	struct sock *sk = READ(skb, sk);
	if (sk && READ(sk, __sk_common.skc_family) == 1 && in_scope(sk))
		count(skb, LOCAL, 0);
	return 0;
}

/* Counts the part of a request that is of our files; `sign` is -1 to take it back. */
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

/* By the file, whoever issues it: one process may issue what others have queued. */
SEC("tp_btf/block_rq_issue") int block_rq_issue(__u64 *context)
{
	return request_of_ours((void *)context[0], 1);
}

/* The disk had no room for it; it will be issued again. */
SEC("tp_btf/block_rq_requeue") int block_rq_requeue(__u64 *context)
{
	return request_of_ours((void *)context[0], -1);
}

/* Tier T3, where hooks on functions are permitted: what it copied out of the page cache. */
SEC("fexit/filemap_read") int filemap_read(__u64 *context)
{
	__u64 *found = current_process();
	struct iov_iter *to = (void *)context[1];
	__s64 copied = context[3];
	if (copied <= 0)
		return 0;
	/* Up to Linux 6.4 sendfile lets it pass pages into a pipe, and copies nothing. */
	if (ENUM(iter_type, ITER_PIPE, EXISTS) && READ(to, iter_type) == ENUM(iter_type, ITER_PIPE, VALUE))
		return 0;
	return COUNT_OWN(found, FUNCTION_BYTES, copied);
}
