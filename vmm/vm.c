// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The KVM machine: memory slots, interrupt controllers, timer, clock, coalesced ports. Made anew
 * for every reset.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/error.h"
#include "vmbus/os.h"
#include "vmm/internal.h"

/* Where Intel's KVM may put pages of its own: between our tables' gap and the end of 4 GiB. */
#define IDENTITY_MAP_GPA 0xfeffc000ull
#define TSS_GPA 0xfeffd000ull

#define DELAY_PORT 0x80u /* written by guests to pass time */

static int set_memory(struct machine *machine)
{
	const struct partition *partition = &machine->partition;

	for (uint32_t i = 0; i < partition->slot_count; i++) {
		struct kvm_userspace_memory_region region = {
			.slot = i,
			.guest_phys_addr = partition->slots[i].gpa.value,
			.memory_size = partition->slots[i].bytes,
			.userspace_addr = (uintptr_t)partition->slots[i].hva,
		};
		int err = kvm_call(machine->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);

		if (err < 0)
			return err;
	}
	return 0;
}

static int set_chipset(struct machine *machine)
{
	uint64_t identity_map = IDENTITY_MAP_GPA;
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	int err;

	err = kvm_call(machine->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	if (err < 0 && err != -EINVAL && err != -ENOTTY)
		return err;
	err = kvm_call(machine->vm_fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)TSS_GPA);
	if (err < 0 && err != -EINVAL && err != -ENOTTY)
		return err;
	err = kvm_call(machine->vm_fd, KVM_CREATE_IRQCHIP, NULL);
	if (err < 0)
		return err;
	return kvm_call(machine->vm_fd, KVM_CREATE_PIT2, &pit);
}

/*
 * Ports that are written often and answer nothing: KVM keeps the writes until something else makes
 * the guest leave. For the serial port's data that is right as drivers look at its status after
 * each batch.
 */
static void coalesce_ports(struct machine *machine)
{
	static const uint16_t ports[] = { SERIAL_COM1_PORT, DELAY_PORT };
	struct kvm_run *run = machine->vcpus[0].run;
	int page = kvm_call(machine->kvm.fd, KVM_CHECK_EXTENSION,
			    (void *)(uintptr_t)KVM_CAP_COALESCED_MMIO);

	if (!machine->kvm.coalesced_ports || page <= 0 ||
	    machine->kvm.run_bytes < (size_t)(page + 1) * HV_PAGE_BYTES)
		return;
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		struct kvm_coalesced_mmio_zone zone = { .addr = ports[i], .size = 1, .pio = 1 };

		if (kvm_call(machine->vm_fd, KVM_REGISTER_COALESCED_MMIO, &zone) < 0)
			return;
	}
	machine->coalesced = (void *)((char *)run + (size_t)page * HV_PAGE_BYTES);
}

void vm_drain_ports(struct machine *machine)
{
	struct kvm_coalesced_mmio_ring *ring = machine->coalesced;
	const uint32_t entries =
		(HV_PAGE_BYTES - sizeof(*ring)) / sizeof(struct kvm_coalesced_mmio);

	if (os_load_acquire(ring->last) == os_read_once(ring->first))
		return;
	pthread_mutex_lock(&machine->coalesced_lock);
	while (ring->first != os_load_acquire(ring->last)) {
		const struct kvm_coalesced_mmio *write =
			&ring->coalesced_mmio[ring->first % entries];

		if (write->pio == 1)
			ports_write(&machine->ports, (uint16_t)write->phys_addr, 1, write->data[0]);
		os_store_release(ring->first, (ring->first + 1) % entries);
	}
	pthread_mutex_unlock(&machine->coalesced_lock);
}

static int create_vcpus(struct machine *machine, const struct boot_entry *entry, char *error,
			size_t error_bytes)
{
	int err;

	/* In order: KVM finds a vCPU by its VP index fastest if they agree. */
	for (uint32_t vp = 0; vp < machine->cpus; vp++) {
		err = vcpu_create(&machine->vcpus[vp], error, error_bytes);
		if (err)
			return err;
	}
	err = vcpu_set_boot_state(&machine->vcpus[0], entry);
	if (err < 0) {
		snprintf(error, error_bytes, "processor 0: KVM refuses its registers: %s",
			 strerror(-err));
		return lis_error_from_errno(-err);
	}
	return 0;
}

int vm_create(struct machine *machine, const struct boot_entry *entry, char *error,
	      size_t error_bytes)
{
	const char *step = "create a machine";
	int err;

	machine->vm_fd = kvm_call(machine->kvm.fd, KVM_CREATE_VM, NULL);
	err = machine->vm_fd;
	if (err < 0)
		goto failed;
	step = "take its memory";
	err = set_memory(machine);
	if (err < 0)
		goto failed;
	step = "make its interrupt controllers";
	err = set_chipset(machine);
	if (err < 0)
		goto failed;
	hyperv_vm_init(machine);
	err = create_vcpus(machine, entry, error, error_bytes);
	if (err)
		goto destroy;
	coalesce_ports(machine);
	step = "route its interrupts";
	err = kvm_partition_connect(machine);
	if (err < 0)
		goto failed;
	return 0;

failed:
	snprintf(error, error_bytes, "KVM cannot %s: %s", step, strerror(-err));
	err = lis_error_from_errno(-err);
destroy:
	vm_destroy(machine);
	return err;
}

void vm_destroy(struct machine *machine)
{
	machine->coalesced = NULL;
	for (uint32_t vp = 0; vp < machine->cpus; vp++)
		vcpu_destroy(&machine->vcpus[vp]);
	if (machine->vm_fd >= 0)
		close(machine->vm_fd);
	machine->vm_fd = -1;
}

/*
 * Hyper-V's reference time stands still with the machine. KVM derives it, also in the reference TSC
 * page of the guest, from its clock; the TSC itself runs on, which only the page's reader sees.
 */
void vm_clock_stop(struct machine *machine)
{
	struct kvm_clock_data clock = { 0 };

	machine->clock_ns = 0;
	if (kvm_call(machine->vm_fd, KVM_GET_CLOCK, &clock) == 0)
		machine->clock_ns = clock.clock;
}

void vm_clock_start(struct machine *machine)
{
	struct kvm_clock_data clock = { .clock = machine->clock_ns };

	if (machine->clock_ns)
		kvm_call(machine->vm_fd, KVM_SET_CLOCK, &clock);
}

void vm_irq(struct machine *machine, uint32_t gsi, bool level)
{
	struct kvm_irq_level irq = { .irq = gsi, .level = level };

	if (machine->vm_fd >= 0)
		kvm_call(machine->vm_fd, KVM_IRQ_LINE, &irq);
}
