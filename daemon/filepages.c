/* SPDX-License-Identifier: MIT */
/* Walks the loaded objects, see filepages.h. */
#include "config.h"

#include "daemon/filepages.h"

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

/* Relocations in text make pages private: dropping them would undo the relocation. */
static bool has_text_relocations(const struct dl_phdr_info *o)
{
	for (size_t i = 0; i < o->dlpi_phnum; i++) {
		const ElfW(Dyn) *d;

		if (o->dlpi_phdr[i].p_type != PT_DYNAMIC)
			continue;
		/* The loader's own view of the object; an address is all that ELF gives. */
		for (d = (const ElfW(Dyn) *)(o->dlpi_addr + o->dlpi_phdr[i].p_vaddr); d->d_tag != DT_NULL; d++)
			if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_TEXTREL)))
				return true;
	}
	return false;
}

/* The page on which the next segment begins, up to which the last page of segment 'i' is its own. */
static uintptr_t limit_of(const struct dl_phdr_info *o, size_t i, uintptr_t page)
{
	for (size_t k = i + 1; k < o->dlpi_phnum; k++)
		if (o->dlpi_phdr[k].p_type == PT_LOAD) /* in the order of addresses */
			return (o->dlpi_addr + o->dlpi_phdr[k].p_vaddr) & ~(page - 1);
	return UINTPTR_MAX;
}

static int release_object(struct dl_phdr_info *o, size_t size, void *ctx)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), vdso = (uintptr_t)getauxval(AT_SYSINFO_EHDR);

	(void)size;
	(void)ctx;
	if ((vdso && o->dlpi_addr == vdso) || has_text_relocations(o))
		return 0;
	for (size_t i = 0; i < o->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &o->dlpi_phdr[i];
		const uintptr_t begin = (o->dlpi_addr + p->p_vaddr) & ~(page - 1);
		uintptr_t end = (o->dlpi_addr + p->p_vaddr + p->p_memsz + page - 1) & ~(page - 1);

		if (p->p_type != PT_LOAD || (p->p_flags & PF_W))
			continue;
		if (end > limit_of(o, i, page))
			end = limit_of(o, i, page);
		/* Refused where pages are locked, which is an answer too. */
		if (end > begin)
			(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
	}
	return 0;
}

void filepages_release(void)
{
	(void)dl_iterate_phdr(release_object, NULL);
}
