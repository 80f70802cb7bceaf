// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The machine: puts the parts together, starts and stops them, tells the owner what happens.
 *
 * The state is the loop's. VPs' threads leave requests in a word and queue one call; the call sees
 * to it that all VPs are parked before the owner hears of an end.
 */
#include "vmm/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmbus/os.h"
#include "vmm/acpi.h"
#include "vmm/cpuid.h"
#include "vmm/internal.h"

#define MSI_ADDRESS 0xfee00000u  /* APIC 0, physical */
#define MSI_DATA_NMI 0x400u
#define CRASHES_TOLD_MAX 16u     /* [policy] for each start */
#define OUTPUT_DELAY_NS 2000000u /* [policy] nobody sees it, and it saves a wake-up for each byte */

void machine_request(struct machine *machine, uint32_t requests)
{
	if (requests & REQUEST_HALTS)
		vcpus_halt(machine);
	if (atomic_fetch_or(&machine->requests, requests) == 0)
		io_loop_call(machine->loop, &machine->request_call);
}

/* The devices' way to the rest of the machine. */

static void serial_interrupt(void *owner, bool level)
{
	vm_irq(owner, SERIAL_COM1_IRQ, level);
}

static void serial_output_waiting(void *owner)
{
	struct machine *machine = owner;

	if (!atomic_exchange(&machine->output_called, true))
		io_loop_call(machine->loop, &machine->output_call);
}

static void serial_input_room(void *owner)
{
	struct machine *machine = owner;

	if (!atomic_exchange(&machine->input_called, true))
		io_loop_call(machine->loop, &machine->input_call);
}

static void pm_interrupt(void *owner, bool level)
{
	vm_irq(owner, PM_SCI_IRQ, level);
}

static void pm_power_off(void *owner)
{
	machine_request(owner, REQUEST_POWER_OFF);
}

static void reset_requested(void *owner)
{
	machine_request(owner, REQUEST_RESET);
}

static void put_output(struct machine *machine)
{
	const uint8_t *data;
	size_t bytes;

	while (!machine->output_blocked &&
	       (bytes = serial_output_peek(&machine->serial, &data)) > 0) {
		size_t taken = bytes;

		if (machine->console.output)
			taken = machine->console.output(machine->console.owner, data, bytes);
		machine->output_blocked = taken < bytes;
		serial_output_take(&machine->serial, taken < bytes ? taken : bytes);
	}
}

/* A guest writes byte by byte: let some come together. */
static void on_output(struct io_call *call)
{
	struct machine *machine =
		(struct machine *)(void *)((char *)call - offsetof(struct machine, output_call));

	io_timer_set(&machine->output_timer, machine->loop,
		     io_loop_now_ns(machine->loop) + OUTPUT_DELAY_NS);
}

static void on_output_timer(struct io_timer *timer)
{
	struct machine *machine =
		(struct machine *)(void *)((char *)timer - offsetof(struct machine, output_timer));

	/* First the flag: a byte that comes after the last look calls again. */
	atomic_store(&machine->output_called, false);
	put_output(machine);
}

static void on_input_room(struct io_call *call)
{
	struct machine *machine =
		(struct machine *)(void *)((char *)call - offsetof(struct machine, input_call));

	atomic_store(&machine->input_called, false);
	if (machine->console.input_ready)
		machine->console.input_ready(machine->console.owner);
}

/* Events */

static void tell(struct machine *machine, const struct machine_event *event)
{
	if (machine->event)
		machine->event(machine->owner, event);
}

static void tell_crash(struct machine *machine)
{
	struct machine_event event = { .type = MACHINE_EVENT_CRASHED };
	char message[MACHINE_CRASH_MESSAGE_BYTES_MAX];

	pthread_mutex_lock(&machine->crash_lock);
	event.crash = machine->crash;
	memcpy(message, machine->crash_message, machine->crash.message_bytes);
	machine->crash_pending = false;
	pthread_mutex_unlock(&machine->crash_lock);
	event.crash.message = message;
	/* A guest may write its registers without end; the owner hears of the first few. */
	if (++machine->crashes - machine->crashes_at_start <= CRASHES_TOLD_MAX)
		tell(machine, &event);
}

static void tell_end(struct machine *machine, uint32_t requests)
{
	struct machine_event event = { 0 };
	char failure[MACHINE_ERROR_BYTES];

	vcpus_park(machine);
	machine->state = MACHINE_STOPPED;
	put_output(machine);
	if (requests & REQUEST_FAILED) {
		pthread_mutex_lock(&machine->crash_lock);
		memcpy(failure, machine->failure, sizeof(failure));
		pthread_mutex_unlock(&machine->crash_lock);
		event.type = MACHINE_EVENT_FAILED;
		event.error = failure;
	} else if (requests & REQUEST_POWER_OFF) {
		event.type = MACHINE_EVENT_POWERED_OFF;
	} else {
		event.type = MACHINE_EVENT_RESET;
		event.triple_fault = !(requests & REQUEST_RESET);
	}
	tell(machine, &event);
}

static void on_requests(struct io_call *call)
{
	struct machine *machine =
		(struct machine *)(void *)((char *)call - offsetof(struct machine, request_call));
	uint32_t requests = atomic_exchange(&machine->requests, 0);

	if (requests & REQUEST_CRASHED)
		tell_crash(machine);
	/* The owner may have stopped it in the meantime: then there is no end to tell. */
	if (requests & REQUEST_HALTS && machine->state != MACHINE_STOPPED)
		tell_end(machine, requests);
}

/* Making and unmaking */

static void init_devices(struct machine *machine)
{
	machine->serial_ops = (struct serial_ops){
		.interrupt = serial_interrupt, .output_waiting = serial_output_waiting,
		.input_room = serial_input_room, .owner = machine,
	};
	machine->pm_ops = (struct pm_ops){
		.interrupt = pm_interrupt, .power_off = pm_power_off, .owner = machine,
	};
	machine->reset = (struct reset){ .requested = reset_requested, .owner = machine };
	machine->output_call.fn = on_output;
	machine->output_timer.expired = on_output_timer;
	machine->input_call.fn = on_input_room;
	machine->request_call.fn = on_requests;
	serial_init(&machine->serial, &machine->serial_ops);
	pm_init(&machine->pm, &machine->pm_ops);
	rtc_init(&machine->rtc, NULL);
	ports_add(&machine->ports, &(struct port_device){
		.first = SERIAL_COM1_PORT, .count = SERIAL_PORTS, .read = serial_read,
		.write = serial_write, .owner = &machine->serial });
	ports_add(&machine->ports, &(struct port_device){
		.first = PM_PORT, .count = PM_PORTS, .read = pm_read, .write = pm_write,
		.owner = &machine->pm });
	ports_add(&machine->ports, &(struct port_device){
		.first = RTC_PORT, .count = RTC_PORTS, .read = rtc_read, .write = rtc_write,
		.owner = &machine->rtc });
	ports_add(&machine->ports, &(struct port_device){
		.first = RESET_PORT, .count = 1, .read = reset_control_read,
		.write = reset_control_write, .owner = &machine->reset, .single_bytes = true });
	ports_add(&machine->ports, &(struct port_device){
		.first = RESET_KEYBOARD_PORT, .count = 1, .read = reset_keyboard_read,
		.write = reset_keyboard_write, .owner = &machine->reset });
}

static int check_config(const struct machine_config *config, char *error)
{
	if (!config->kernel_path) {
		snprintf(error, MACHINE_ERROR_BYTES, "no kernel given");
		return -LIS_INVALID;
	}
	if (config->cpus == 0 || config->cpus > MACHINE_CPUS_MAX) {
		snprintf(error, MACHINE_ERROR_BYTES, "%u processors: must be 1 to %u", config->cpus,
			 MACHINE_CPUS_MAX);
		return -LIS_INVALID;
	}
	return 0;
}

static void take_huge_pages(struct machine *machine)
{
	uint64_t huge_bytes = memory_make_huge(&machine->partition);

	/* An odd MiB at the end is in none. */
	os_log(huge_bytes + (2u << 20) <= machine->memory_bytes ? OS_LOG_WARNING : OS_LOG_INFO,
	       "memory: %llu of %llu MiB are in huge pages", (unsigned long long)(huge_bytes >> 20),
	       (unsigned long long)(machine->memory_bytes >> 20));
}

/* Everything in guest memory: firmware's tables and the kernel. */
static int load(struct machine *machine, struct boot_entry *out_entry, char *error)
{
	struct boot_config boot = {
		.kernel_path = machine->kernel_path, .initrd_path = machine->initrd_path,
		.cmdline = machine->cmdline, .map = &machine->map,
	};
	struct acpi_config acpi = {
		.map = &machine->map, .topology = &machine->topology, .cpus = machine->cpus,
	};
	int err;

	if (machine->huge_pages)
		take_huge_pages(machine);
	err = boot_load(&machine->partition, &boot, out_entry, error, MACHINE_ERROR_BYTES);
	if (err)
		return err;
	err = acpi_write(&acpi,
			 partition_hva(&machine->partition, GPA(ACPI_AREA_GPA), ACPI_AREA_BYTES));
	if (err)
		snprintf(error, MACHINE_ERROR_BYTES, "%u processors: their ACPI table does not fit",
			 machine->cpus);
	return err;
}

static int copy_strings(struct machine *machine, const struct machine_config *config)
{
	machine->kernel_path = strdup(config->kernel_path);
	machine->initrd_path = config->initrd_path ? strdup(config->initrd_path) : NULL;
	machine->cmdline = config->cmdline ? strdup(config->cmdline) : NULL;
	if (!machine->kernel_path || (config->initrd_path && !machine->initrd_path) ||
	    (config->cmdline && !machine->cmdline))
		return -LIS_NOMEM;
	return 0;
}

static struct machine *allocate(const struct machine_config *config)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	if (!machine)
		return NULL;
	machine->vcpus = calloc(config->cpus, sizeof(*machine->vcpus));
	if (!machine->vcpus) {
		free(machine);
		return NULL;
	}
	machine->loop = config->loop;
	machine->console = config->console;
	machine->knows_sleep = config->knows_sleep;
	machine->event = config->event;
	machine->owner = config->owner;
	machine->memory_bytes = config->memory_bytes;
	machine->huge_pages = config->huge_pages;
	machine->cpus = config->cpus;
	machine->topology = config->topology;
	machine->kvm.fd = machine->vm_fd = -1;
	for (uint32_t vp = 0; vp < config->cpus; vp++) {
		struct vcpu *vcpu = &machine->vcpus[vp];

		vcpu->machine = machine;
		vcpu->vp = vp;
		vcpu->fd = vcpu->stats_fd = vcpu->interrupt_fd = vcpu->resample_fd = -1;
	}
	pthread_mutex_init(&machine->run_lock, NULL);
	pthread_cond_init(&machine->run_changed, NULL);
	pthread_mutex_init(&machine->crash_lock, NULL);
	pthread_mutex_init(&machine->coalesced_lock, NULL);
	init_devices(machine);
	return machine;
}

/* What depends on the host: processors it can have, addresses they have. */
static int fit_host(struct machine *machine, char *error)
{
	int err = kvm_host_open(&machine->kvm, error, MACHINE_ERROR_BYTES);

	if (err)
		return err;
	if (machine->cpus > machine->kvm.cpus_max) {
		snprintf(error, MACHINE_ERROR_BYTES,
			 "%u processors: this machine's KVM takes %u at most", machine->cpus,
			 machine->kvm.cpus_max);
		return -LIS_UNSUPPORTED;
	}
	err = cpuid_topology(&machine->topology, machine->cpus, cpuid_host_threads_per_core());
	if (err) {
		snprintf(error, MACHINE_ERROR_BYTES,
			 "topology: sockets x cores x threads must be the number of processors, %u",
			 machine->cpus);
		return err;
	}
	return memory_map_init(&machine->map, machine->memory_bytes,
			       cpuid_physical_bits(machine->kvm.cpuid), error, MACHINE_ERROR_BYTES);
}

int machine_create(const struct machine_config *config, struct machine **out_machine,
		   char error[MACHINE_ERROR_BYTES])
{
	struct machine *machine;
	struct boot_entry entry;
	int err = check_config(config, error);

	if (err)
		return err;
	snprintf(error, MACHINE_ERROR_BYTES, "out of memory");
	machine = allocate(config);
	if (!machine)
		return -LIS_NOMEM;
	err = kvm_partition_init(machine);
	if (!err)
		err = copy_strings(machine, config);
	if (!err)
		err = fit_host(machine, error);
	if (!err)
		err = memory_create(&machine->partition, &machine->map, error, MACHINE_ERROR_BYTES);
	if (!err)
		err = load(machine, &entry, error);
	if (!err)
		err = vm_create(machine, &entry, error, MACHINE_ERROR_BYTES);
	if (err) {
		machine_destroy(machine);
		return err;
	}
	*out_machine = machine;
	return 0;
}

void machine_destroy(struct machine *machine)
{
	if (!machine)
		return;
	vcpus_join(machine);
	machine->event = NULL;
	/* Calls that were queued must have run before their structures go. */
	while (atomic_load(&machine->requests) || atomic_load(&machine->output_called) ||
	       atomic_load(&machine->input_called))
		io_loop_turn(machine->loop, true);
	vm_destroy(machine);
	kvm_partition_fini(machine);
	memory_destroy(&machine->partition);
	kvm_host_close(&machine->kvm);
	serial_fini(&machine->serial);
	pm_fini(&machine->pm);
	rtc_fini(&machine->rtc);
	pthread_mutex_destroy(&machine->run_lock);
	pthread_cond_destroy(&machine->run_changed);
	pthread_mutex_destroy(&machine->crash_lock);
	pthread_mutex_destroy(&machine->coalesced_lock);
	free(machine->kernel_path);
	free(machine->initrd_path);
	free(machine->cmdline);
	free(machine->vcpus);
	free(machine);
}

struct partition *machine_partition(struct machine *machine)
{
	return &machine->partition;
}

enum machine_state machine_state(const struct machine *machine)
{
	return machine->state;
}

/* Life */

int machine_start(struct machine *machine)
{
	int err;

	if (machine->state != MACHINE_STOPPED || machine->vm_fd < 0)
		return -LIS_INVALID;
	vcpus_join(machine);
	err = vcpus_start(machine);
	if (err)
		return err;
	machine->crashes_at_start = machine->crashes;
	machine->state = MACHINE_RUNNING;
	vcpus_run(machine);
	return 0;
}

int machine_pause(struct machine *machine)
{
	if (machine->state == MACHINE_STOPPED)
		return -LIS_INVALID;
	if (machine->state == MACHINE_PAUSED)
		return 0;
	vcpus_park(machine);
	vm_clock_stop(machine);
	machine->state = MACHINE_PAUSED;
	return 0;
}

int machine_resume(struct machine *machine)
{
	if (machine->state == MACHINE_STOPPED)
		return -LIS_INVALID;
	if (machine->state == MACHINE_RUNNING)
		return 0;
	vm_clock_start(machine);
	machine->state = MACHINE_RUNNING;
	vcpus_run(machine);
	return 0;
}

void machine_stop(struct machine *machine)
{
	vcpus_park(machine);
	machine->state = MACHINE_STOPPED;
	put_output(machine);
}

int machine_reset(struct machine *machine, char error[MACHINE_ERROR_BYTES])
{
	struct boot_entry entry;
	int err;

	if (machine->state != MACHINE_STOPPED) {
		snprintf(error, MACHINE_ERROR_BYTES, "the machine runs");
		return -LIS_INVALID;
	}
	vcpus_join(machine);
	vm_destroy(machine);
	kvm_partition_reset(machine);
	serial_reset(&machine->serial);
	pm_reset(&machine->pm);
	memory_clear(&machine->partition);
	err = load(machine, &entry, error);
	if (!err)
		err = vm_create(machine, &entry, error, MACHINE_ERROR_BYTES);
	if (!err)
		machine->resets++;
	return err;
}

void machine_power_button(struct machine *machine)
{
	pm_power_button(&machine->pm);
}

int machine_nmi(struct machine *machine)
{
	/* As a device's message: unlike KVM_NMI it need not wait for the processor to leave. */
	struct kvm_msi nmi = { .address_lo = MSI_ADDRESS, .data = MSI_DATA_NMI };

	if (machine->state == MACHINE_STOPPED)
		return -LIS_INVALID;
	return kvm_call(machine->vm_fd, KVM_SIGNAL_MSI, &nmi) < 0 ? -LIS_INVALID : 0;
}

size_t machine_console_input(struct machine *machine, const void *data, size_t bytes)
{
	return serial_input(&machine->serial, data, bytes);
}

void machine_console_output_ready(struct machine *machine)
{
	machine->output_blocked = false;
	put_output(machine);
}

uint64_t machine_reference_time_100ns(const struct machine *machine)
{
	struct kvm_clock_data clock = { .clock = machine->clock_ns };

	/* KVM derives the reference counter and the TSC page from this clock. */
	if (machine->state == MACHINE_RUNNING)
		kvm_call(machine->vm_fd, KVM_GET_CLOCK, &clock);
	return clock.clock / 100;
}

void machine_status(const struct machine *machine, struct machine_status *out_status)
{
	*out_status = (struct machine_status){
		.state = machine->state,
		.cpus = machine->cpus,
		.memory_bytes = machine->memory_bytes,
		.resets = machine->resets,
		.crashes = machine->crashes,
	};
}

static uint64_t load_count(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

int machine_vp_counters(const struct machine *machine, uint32_t vp,
			struct machine_vp_counters *out_counters)
{
	struct vcpu *vcpu;

	if (vp >= machine->cpus)
		return -LIS_INVALID;
	vcpu = &machine->vcpus[vp];
	*out_counters = (struct machine_vp_counters){
		.exits = load_count(&vcpu->counters.exits),
		.exits_port = load_count(&vcpu->counters.exits_port),
		.exits_mmio = load_count(&vcpu->counters.exits_mmio),
		.exits_hypercall = load_count(&vcpu->counters.exits_hypercall),
		.exits_synic = load_count(&vcpu->counters.exits_synic),
		.exits_other = load_count(&vcpu->counters.exits_other),
		.messages_in = load_count(&vcpu->counters.messages_in),
		.interrupts = load_count(&vcpu->counters.interrupts),
	};
	pthread_mutex_lock(&vcpu->synic.lock);
	out_counters->messages_out = vcpu->synic.delivered;
	out_counters->messages_waiting = vcpu->synic.waiting;
	pthread_mutex_unlock(&vcpu->synic.lock);
	return 0;
}
