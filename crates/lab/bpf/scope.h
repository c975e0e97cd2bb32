/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The scope, set by user space: processes by their numbers in the PID namespace of the observer
 * (Linux 5.7), files by inode.
 *
 * Limitations: a file whose device number in stat(2) differs from that of its superblock is
 * identified by its inode number alone.
 */
#ifndef KAREZ_SCOPE_H
#define KAREZ_SCOPE_H

#include "kernel.h"

enum { SLOTS = 4 };

struct file_key { __u64 inode, device; };

/* The PID namespace of the process numbers. */
struct space { __u64 device, inode; };

MAP(SPACE, MAP_ARRAY, 1, __u32, struct space);
MAP(PROCESSES, MAP_HASH, SLOTS, __u32, __u64);
MAP(FILES, MAP_HASH, 64, struct file_key, __u64);

/* Returns the numbers of the current thread in the namespace; 0 if it is outside. In a container
 * they differ from those of the initial namespace. */
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

/* Returns the map entry of the current process; null if it is not in the scope. */
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
	key.device = 0; /* the device number of stat(2) differs from that of the superblock */
	return bpf_map_lookup_elem(&FILES, &key) != 0;
}

INLINE int is_ours(struct address_space *mapping)
{
	return is_our_inode(READ(mapping, host));
}

#endif
