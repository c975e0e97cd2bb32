// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Traces one request: BPF programs on BTF tracepoints (tp_btf; Linux 5.8; supports 6.1 and later)
 * that submit a record per event, with its time, to a ring buffer (Linux 5.8).
 *
 * They record the processes in the scope (scope.h) while tracing is armed: system calls with
 * arguments and results, context switches and wake-ups, page faults, page cache lookups, packets
 * of one connection and disk requests with the origin of their bytes (pages.h).
 *
 * Limitations: each record costs about a microsecond, so times are those of a traced request;
 * records that do not fit into the ring buffer are lost and only counted.
 *
 * Built by `build` in this directory. src/trace/recorder.rs declares the layout of a record too.
 */
#include "pages.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum kind { CALL, SWITCH_OUT, SWITCH_IN, WAKE_UP, FAULT, LOOKUP, FAULT_AROUND, PACKET, RECEIVE, DISK, URING, IO_WORKER };

struct event {
	__u64 time, start;
	__u32 kind, process, thread, core;
	__u64 of[10];
	char name[16];
};

/* A thread, by its number in the initial namespace: its numbers in the namespace of the scope, and
 * the current system call if is_in_call is set. */
struct thread { __u32 process, thread; __u64 start, number, is_in_call, of[6]; };

/* Interrupt context of a core: the number of the softirq or interrupt plus one; 0 if none. */
struct irq_context { __u64 softirq, interrupt; };

struct started { __u64 time, operation, bytes; __u32 process, thread; };

/* User space sets `armed` while it traces; the programs count lost records. */
struct state { __u64 armed, lost; };

/* The ports of the connection. */
struct ports { __u16 server, client; };

struct { UINT(type, MAP_RINGBUF); UINT(max_entries, 1 << 24); } EVENTS SEC(".maps");
MAP(STATE, MAP_ARRAY, 1, __u32, struct state);
MAP(PORTS, MAP_ARRAY, 1, __u32, struct ports);
MAP(THREADS, MAP_HASH, 1024, __u32, struct thread);
MAP(IRQ_CONTEXTS, MAP_PERCPU_ARRAY, 1, __u32, struct irq_context);
MAP(REQUESTS, MAP_LRU_HASH, 1024, __u64, struct started);
MAP(OPERATIONS, MAP_LRU_HASH, 1024, __u64, struct started);

INLINE struct state *state(void)
{
	__u32 first = 0;
	return bpf_map_lookup_elem(&STATE, &first);
}

INLINE int is_armed(void)
{
	struct state *found = state();
	return found && found->armed;
}

/* Returns the current thread, if its process is in the scope, and adds it to the map. */
INLINE struct thread *current_thread(void)
{
	__u32 own = bpf_get_current_pid_tgid();
	struct thread *known = bpf_map_lookup_elem(&THREADS, &own);
	if (known)
		return known;
	struct bpf_pidns_info numbers = current_numbers();
	if (!numbers.tgid || !bpf_map_lookup_elem(&PROCESSES, &numbers.tgid))
		return 0;
	struct thread found = { .process = numbers.tgid, .thread = numbers.pid };
	bpf_map_update_elem(&THREADS, &own, &found, 0);
	return bpf_map_lookup_elem(&THREADS, &own);
}

INLINE struct thread *thread_of(struct task_struct *task)
{
	__u32 number = READ(task, pid);
	return number ? bpf_map_lookup_elem(&THREADS, &number) : 0;
}

/* Reserves a record for the caller to fill in; its name is that of the current thread. */
INLINE struct event *event(enum kind kind, __u32 process, __u32 thread)
{
	struct event *record = bpf_ringbuf_reserve(&EVENTS, sizeof(*record), 0);
	struct state *found = state();
	if (!record) {
		if (found)
			ADD(found->lost, 1);
		return 0;
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->time = record->start = bpf_ktime_get_ns();
	record->kind = kind;
	record->process = process;
	record->thread = thread;
	record->core = bpf_get_smp_processor_id();
	bpf_get_current_comm(record->name, sizeof(record->name));
	return record;
}

/* Submits a record without a wake-up of the reader (BPF_RB_NO_WAKEUP). */
INLINE void submit(struct event *record)
{
	bpf_ringbuf_submit(record, 1);
}

INLINE struct event *event_of(enum kind kind, struct thread *thread)
{
	return thread && is_armed() ? event(kind, thread->process, thread->thread) : 0;
}

/* Reads the arguments on both architectures; the loader removes the branch without the fields. */
INLINE void arguments(void *registers, __u64 *to)
{
	struct pt_regs___x86 *x86 = registers;
	struct pt_regs___arm *arm = registers;
	if (HAS(x86, di)) {
		to[0] = READ(x86, di), to[1] = READ(x86, si), to[2] = READ(x86, dx);
		to[3] = READ(x86, r10), to[4] = READ(x86, r8), to[5] = READ(x86, r9);
	} else if (HAS(arm, regs)) {
		to[0] = READ(arm, regs[0]), to[1] = READ(arm, regs[1]), to[2] = READ(arm, regs[2]);
		to[3] = READ(arm, regs[3]), to[4] = READ(arm, regs[4]), to[5] = READ(arm, regs[5]);
	}
}

/* Runs even while tracing is off: a request starts inside a system call that waits for it. */
SEC("tp_btf/sys_enter") int sys_enter(__u64 *context)
{
	struct thread *thread = current_thread();
	if (!thread)
		return 0;
	thread->start = bpf_ktime_get_ns();
	thread->number = context[1];
	thread->is_in_call = 1;
	arguments((void *)context[0], thread->of);
	return 0;
}

SEC("tp_btf/sys_exit") int sys_exit(__u64 *context)
{
	struct thread *thread = current_thread();
	if (!thread || !thread->is_in_call)
		return 0;
	thread->is_in_call = 0;
	struct event *record = event_of(CALL, thread);
	if (!record)
		return 0;
	record->start = thread->start;
	record->of[0] = thread->number;
	record->of[1] = context[1];
	for (int i = 0; i < 6; i++)
		record->of[2 + i] = thread->of[i];
	submit(record);
	return 0;
}

/* The current thread is the one that is switched out. */
SEC("tp_btf/sched_switch") int sched_switch(__u64 *context)
{
	struct event *out = event_of(SWITCH_OUT, current_thread());
	if (out) {
		out->of[0] = !(context[0] & 1) && (__u32)context[3] != 0;
		submit(out);
	}
	struct event *in = event_of(SWITCH_IN, thread_of((void *)context[2]));
	if (in)
		submit(in);
	return 0;
}

INLINE struct irq_context *irq_context(void)
{
	__u32 first = 0;
	return bpf_map_lookup_elem(&IRQ_CONTEXTS, &first);
}

/* Defines a program that updates the interrupt context of the core. */
#define IRQ_CONTEXT(point, field, value)                             \
	SEC("tp_btf/" #point) int point(__u64 *context)        \
	{                                                      \
		struct irq_context *found = irq_context();                 \
		if (found)                                     \
			found->field = (value);                \
		return 0;                                      \
	}

IRQ_CONTEXT(softirq_entry, softirq, (__u32)context[0] + 1)
IRQ_CONTEXT(softirq_exit, softirq, 0)
IRQ_CONTEXT(irq_handler_entry, interrupt, (__u32)context[0] + 1)
IRQ_CONTEXT(irq_handler_exit, interrupt, 0)
/* These two tracepoints of x86 have no interrupt number, only a vector. */
IRQ_CONTEXT(local_timer_entry, interrupt, 0x10000)
IRQ_CONTEXT(local_timer_exit, interrupt, 0)

SEC("tp_btf/sched_waking") int sched_waking(__u64 *context)
{
	struct event *record = event_of(WAKE_UP, thread_of((void *)context[0]));
	if (!record)
		return 0;
	__u32 own = bpf_get_current_pid_tgid();
	struct thread *waker = bpf_map_lookup_elem(&THREADS, &own);
	struct irq_context *found = irq_context();
	if (waker) {
		record->of[0] = waker->process;
		record->of[1] = waker->thread;
	}
	if (found) {
		record->of[2] = found->softirq;
		record->of[3] = found->interrupt;
	}
	record->of[4] = own;
	submit(record);
	return 0;
}

INLINE int fault(__u64 *context, __u64 in_user_mode)
{
	struct event *record = event_of(FAULT, current_thread());
	if (!record)
		return 0;
	record->of[0] = context[0];
	record->of[1] = context[2];
	record->of[2] = in_user_mode;
	submit(record);
	return 0;
}

SEC("tp_btf/page_fault_user") int page_fault_user(__u64 *context)
{
	return fault(context, 1);
}

SEC("tp_btf/page_fault_kernel") int page_fault_kernel(__u64 *context)
{
	return fault(context, 0);
}

/* Records an operation on a range of pages of a file in the scope. */
INLINE int pages(enum kind kind, __u64 *context)
{
	struct thread *thread = current_thread();
	struct event *record = thread && is_ours((void *)context[0]) ? event_of(kind, thread) : 0;
	if (!record)
		return 0;
	record->of[0] = context[1];
	record->of[1] = context[2];
	submit(record);
	return 0;
}

/* Linux 6.5 and later. */
SEC("tp_btf/mm_filemap_get_pages") int mm_filemap_get_pages(__u64 *context)
{
	return pages(LOOKUP, context);
}

SEC("tp_btf/mm_filemap_map_pages") int mm_filemap_map_pages(__u64 *context)
{
	return pages(FAULT_AROUND, context);
}

/* Returns 1 for a packet from the server, 2 to the server, 0 for another connection. */
INLINE int direction(struct sock *sk)
{
	__u32 first = 0;
	struct ports *ports = bpf_map_lookup_elem(&PORTS, &first);
	if (!sk || !ports)
		return 0;
	__u16 own = READ(sk, __sk_common.skc_num);
	__u16 other = __builtin_bswap16(READ(sk, __sk_common.skc_dport));
	if (own == ports->server && other == ports->client)
		return 1;
	return own == ports->client && other == ports->server ? 2 : 0;
}

SEC("tp_btf/net_dev_start_xmit") int net_dev_start_xmit(__u64 *context)
{
	struct sk_buff *skb = (void *)context[0];
	struct net_device *device = (void *)context[1];
	int flow = is_armed() ? direction(READ(skb, sk)) : 0;
	if (!flow)
		return 0;
	struct headers known = headers(skb);
	struct thread *thread = current_thread();
	struct event *record = event(PACKET, thread ? thread->process : 0, thread ? thread->thread : 0);
	if (!record)
		return 0;
	classify(skb, known.length, record->of);
	record->of[GROUP] = flow;
	record->of[GROUP + 1] = known.sequence;
	bpf_probe_read_kernel(record->name, sizeof(record->name),
			      __builtin_preserve_access_index(&device->name));
	submit(record);
	return 0;
}

/* A UNIX socket has no device: runs when the receiver has consumed a whole packet. */
SEC("tp_btf/consume_skb") int consume_skb(__u64 *context)
{
	struct sk_buff *skb = (void *)context[0];
	struct sock *sk = READ(skb, sk);
	if (!sk || READ(sk, __sk_common.skc_family) != 1)
		return 0;
	struct event *record = event_of(PACKET, current_thread());
	if (!record)
		return 0;
	classify(skb, 0, record->of);
	submit(record);
	return 0;
}

/* Reading the error queue also runs this tracepoint, with 0 bytes. */
SEC("tp_btf/skb_copy_datagram_iovec") int skb_copy_datagram_iovec(__u64 *context)
{
	__u32 bytes = context[1];
	struct event *record = bytes ? event_of(RECEIVE, current_thread()) : 0;
	if (!record)
		return 0;
	classify((void *)context[0], 0, record->of);
	record->of[GROUP] = bytes;
	submit(record);
	return 0;
}

SEC("tp_btf/block_rq_issue") int block_rq_issue(__u64 *context)
{
	__u64 request = context[0];
	__u32 wanted = operation((void *)request);
	struct started started = { .operation = wanted };
	if (!is_armed() || wanted > 1)
		return 0;
	started.bytes = bytes_of_ours((void *)request);
	started.time = bpf_ktime_get_ns();
	if (started.bytes)
		bpf_map_update_elem(&REQUESTS, &request, &started, 0);
	return 0;
}

/* Counts by request, not by the interrupted process. A request may complete in parts. */
SEC("tp_btf/block_rq_complete") int block_rq_complete(__u64 *context)
{
	__u64 request = context[0], done = (__u32)context[2];
	struct started *started = bpf_map_lookup_elem(&REQUESTS, &request);
	if (!started)
		return 0;
	done = done < started->bytes ? done : started->bytes;
	struct event *record = is_armed() ? event(DISK, 0, 0) : 0;
	if (record) {
		record->start = started->time;
		record->of[0] = started->operation;
		record->of[1] = done;
		submit(record);
	}
	started->bytes -= done;
	if (!started->bytes)
		bpf_map_delete_elem(&REQUESTS, &request);
	return 0;
}

INLINE int submitted(__u64 request)
{
	struct thread *thread = current_thread();
	if (!thread)
		return 0;
	struct started started = { .time = bpf_ktime_get_ns(), .process = thread->process, .thread = thread->thread };
	started.operation = READ((struct io_kiocb *)request, opcode);
	bpf_map_update_elem(&OPERATIONS, &request, &started, 0);
	return 0;
}

/* Linux 6.3 and later; earlier kernels have the other name. */
SEC("tp_btf/io_uring_submit_req") int io_uring_submit_req(__u64 *context)
{
	return submitted(context[0]);
}

SEC("tp_btf/io_uring_submit_sqe") int io_uring_submit_sqe(__u64 *context)
{
	return submitted(context[0]);
}

/* A multishot operation stays in the map. */
INLINE int completed(__u64 request, __s64 result)
{
	struct started *started = bpf_map_lookup_elem(&OPERATIONS, &request);
	struct event *record = started && is_armed() ? event(URING, started->process, started->thread) : 0;
	if (!record)
		return 0;
	record->start = started->time;
	record->of[0] = started->operation;
	record->of[1] = result;
	submit(record);
	return 0;
}

/* The result is an argument up to about Linux 6.14, and a field of the completion entry since then:
 * the kernel rejects the program that reads too many arguments. */
SEC("tp_btf/io_uring_complete") int io_uring_complete_by_value(__u64 *context)
{
	return completed(context[1], (int)context[3]);
}

SEC("tp_btf/io_uring_complete") int io_uring_complete_by_entry(__u64 *context)
{
	return completed(context[1], READ((struct io_uring_cqe *)context[2], res));
}

/* Runs when an operation that would block goes to an io worker thread of the kernel. */
SEC("tp_btf/io_uring_queue_async_work") int io_uring_queue_async_work(__u64 *context)
{
	struct event *record = event_of(IO_WORKER, current_thread());
	if (!record)
		return 0;
	record->of[0] = READ((struct io_kiocb *)context[0], opcode);
	submit(record);
	return 0;
}
