/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Declares the few fields of kernel structs that the programs read. Only their names matter: the
 * loader relocates the offsets (CO-RE). Supports Linux 6.1 and later, tested on 6.1, 6.12 and 6.18.
 * A complete vmlinux.h would be a megabyte.
 *
 * Limitations: a field that the kernel renames is detected only when the program fails to load.
 */
#ifndef KAREZ_KERNEL_H
#define KAREZ_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef long long __s64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define KERNEL __attribute__((preserve_access_index))

/* The loader reads the definitions of maps as BTF: see bpf_helpers.h of libbpf. */
#define UINT(name, value) int(*name)[value]
#define TYPE(name, type) type *name
enum { MAP_HASH = 1, MAP_ARRAY = 2, MAP_PERCPU_ARRAY = 6, MAP_LRU_HASH = 9, MAP_RINGBUF = 27 };

#define MAP(name, kind, entries, key_type, value_type) \
	struct {                                       \
		UINT(type, kind);                      \
		UINT(max_entries, entries);            \
		TYPE(key, key_type);                   \
		TYPE(value, value_type);               \
	} name SEC(".maps")

#define ADD(place, value) __sync_fetch_and_add(&(place), (value))

/* Helper functions by number (linux/bpf.h). */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static __u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static __u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*bpf_get_current_comm)(void *to, __u32 size) = (void *)16;
struct bpf_pidns_info { __u32 pid, tgid; };
static long (*bpf_get_ns_current_pid_tgid)(__u64 device, __u64 inode, struct bpf_pidns_info *to, __u32 size) = (void *)120;
static long (*bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)113;
static long (*bpf_loop)(__u32 turns, void *each, void *context, __u64 flags) = (void *)181; /* Linux 5.17 */
static void *(*bpf_ringbuf_reserve)(void *map, __u64 size, __u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *record, __u64 flags) = (void *)132;

/* Reads a field of a kernel struct; 0 if the pointer is invalid. */
#define READ(pointer, field)                                                              \
	({                                                                                \
		__typeof__((pointer)->field) value = 0;                                   \
		bpf_probe_read_kernel(&value, sizeof(value),                              \
				      __builtin_preserve_access_index(&(pointer)->field)); \
		value;                                                                    \
	})

struct super_block { __u32 s_dev; } KERNEL;
struct inode { unsigned long i_ino; struct super_block *i_sb; } KERNEL;
struct address_space { struct inode *host; } KERNEL;
struct folio { struct address_space *mapping; } KERNEL;
struct page { unsigned long compound_head; } KERNEL;

struct ns_common { __u32 inum; } KERNEL;
struct net { struct ns_common ns; } KERNEL;
typedef struct { struct net *net; } KERNEL possible_net_t;
struct net_device { possible_net_t nd_net; char name[16]; } KERNEL;

typedef struct { __s64 counter; } atomic64_t;
struct sock_common { __u16 skc_family, skc_dport, skc_num; atomic64_t skc_cookie; } KERNEL;
struct sock { struct sock_common __sk_common; } KERNEL;

/* `skb_frag_t` is a bio_vec up to 6.9 and a netmem, length and offset since then: 8 + 4 + 4 bytes
 * in both. So only the offset of the array is relocated, and its elements are read as they are. */
struct frag { unsigned long page; __u32 length; __u32 offset; };
struct skb_shared_info { __u8 nr_frags; struct frag frags[17]; } KERNEL;
struct sk_buff {
	struct sock *sk;
	__u32 len;
	__u32 data_len;
	__u16 transport_header;
	__u16 network_header;
	__u32 end;
	unsigned char *head;
	unsigned char *data;
} KERNEL;

struct file { struct inode *f_inode; } KERNEL;
struct kiocb { struct file *ki_filp; } KERNEL;
struct bvec_iter { __u32 bi_size; __u32 bi_idx; } KERNEL;
struct bio { struct bio *bi_next; struct bvec_iter bi_iter; void *bi_io_vec; void *bi_private; } KERNEL;
struct request { __u32 cmd_flags; struct bio *bio; } KERNEL;

/* Queries of a value of a kernel enum: its existence and its number. */
enum { EXISTS = 0, VALUE = 1 };
#define ENUM(type, name, what) __builtin_preserve_enum_value(*(enum type *)name, what)
enum iter_type { ITER_PIPE };
struct iov_iter { __u8 iter_type; } KERNEL;

struct task_struct { int pid; } KERNEL;
struct io_kiocb { __u8 opcode; } KERNEL;
struct io_uring_cqe { int res; } KERNEL;

/* The registers of system call arguments, by architecture. */
struct pt_regs___x86 { unsigned long di, si, dx, r10, r8, r9; } KERNEL;
struct pt_regs___arm { __u64 regs[31]; } KERNEL;
#define HAS(pointer, field) __builtin_preserve_field_info((pointer)->field, 2)

#endif
