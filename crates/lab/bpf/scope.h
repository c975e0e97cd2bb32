/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What is looked at: processes by their number in the PID namespace of who looks (Linux 5.7), files
 * by inode. User space writes the maps.
 *
 * What it does badly: a file whose device stat(2) tells otherwise is known by its inode alone.
 */
#ifndef KAREZ_SCOPE_H
#define KAREZ_SCOPE_H

#include "kernel.h"

enum { SLOTS = 4 };

struct file_key { __u64 inode, device; };

/* The PID namespace in which processes have the numbers of the scope. */
struct space { __u64 device, inode; };

MAP(SPACE, MAP_ARRAY, 1, __u32, struct space);
MAP(PROCESSES, MAP_HASH, SLOTS, __u32, __u64);
MAP(FILES, MAP_HASH, 64, struct file_key, __u64);

/* The numbers of the current thread; 0 where it has none in the namespace.
 * In a container a process has another number than in the kernel's own eyes. */
INLINE struct bpf_pidns_info current_numbers(void)
{
	__u32 first = 0;
	struct bpf_pidns_info numbers = {}, none = {};
	struct space *space = bpf_map_lookup_elem(&SPACE, &first);
	if (!space ||
	    bpf_get_ns_current_pid_tgid(space->device, space->inode, &numbers, sizeof(numbers)))
		return none;
	return numbers;
}

/* What user space has written of the current process; none if it is not in the scope. */
INLINE __u64 *current_process(void)
{
	struct bpf_pidns_info numbers = current_numbers();
	return numbers.tgid ? bpf_map_lookup_elem(&PROCESSES, &numbers.tgid) : 0;
}

INLINE int is_our_inode(struct inode *inode)
{
	struct super_block *super = READ(inode, i_sb);
	__u32 device = READ(super, s_dev);
	struct file_key key = { READ(inode, i_ino), device };
	if (bpf_map_lookup_elem(&FILES, &key))
		return 1;
	key.device = 0; /* its stat(2) names a device that the inode does not */
	return bpf_map_lookup_elem(&FILES, &key) != 0;
}

INLINE int is_ours(struct address_space *mapping)
{
	return is_our_inode(READ(mapping, host));
}

#endif
