// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/bus/vmbus as the kernel's own bus shows it: names and formats are what udev's rules, lsvmbus
 * and people's scripts read.
 *
 * Source: [linux 7.3 Documentation/ABI/stable/sysfs-bus-vmbus], [linux 7.3 drivers/hv/vmbus_drv.c].
 */
#include <linux/cpu.h>
#include <linux/slab.h>

#include "linux/vmbus/private.h"
#include "vmbus/interfaces.h"

/* Source: [linux 6.1 include/linux/hyperv.h PCI_VENDOR_ID_MICROSOFT] */
#define VENDOR_MICROSOFT 0x1414

/* Source: [linux 6.1 include/linux/hyperv.h struct hv_monitor_page] */
struct monitor_page {
	u32 trigger_state;
	u32 reserved;
	struct {
		u32 pending;
		u32 armed;
	} groups[4];
	u64 reserved2[3];
	s32 next_check_time[4][32];
	u16 latency[4][32];
	u64 reserved3[32];
	struct {
		u32 connection_id;
		u16 flag;
		u16 reserved;
	} parameters[4][32];
	u8 reserved4[1984];
};
static_assert(sizeof(struct monitor_page) == HV_PAGE_BYTES);

enum monitor_side { SERVER, CLIENT }; /* the page that the host, or this guest triggers by */

enum monitor_value { PENDING, LATENCY, CONNECTION_ID };

static ssize_t show_monitor(const struct lis_channel *channel, enum monitor_side side,
			    enum monitor_value value, char *text)
{
	const struct monitor_page *page = lis_bus.monitor_pages[side];
	u8 group = channel->core.offer.monitor_id / 32, bit = channel->core.offer.monitor_id % 32;

	if (group >= ARRAY_SIZE(page->groups))
		return -ENODEV;
	switch (value) {
	case PENDING:
		return sysfs_emit(text, "%d\n", READ_ONCE(page->groups[group].pending));
	case LATENCY:
		return sysfs_emit(text, "%d\n", READ_ONCE(page->latency[group][bit]));
	default:
		return sysfs_emit(text, "%d\n",
				  READ_ONCE(page->parameters[group][bit].connection_id));
	}
}

/* A channel's rings, where it is open. Returns 0 or -errno. */
static int look_at_rings(struct lis_channel *channel, struct vmbus_ring_status *to_host,
			 struct vmbus_ring_status *from_host)
{
	int error = -EINVAL;

	mutex_lock(&channel->lock);
	if (channel->opened) {
		lis_channel_ring_status(channel, to_host, from_host);
		error = 0;
	}
	mutex_unlock(&channel->lock);
	return error;
}

/* Room for writing as the kernel's bus reckons it: all that is not used. */
static u32 free_bytes(const struct vmbus_ring_status *ring)
{
	return ring->data_bytes - ring->used_bytes;
}

/* The bus and its drivers */

static ssize_t hibernation_show(compat_bus_const struct bus_type *bus, char *text)
{
	return sysfs_emit(text, "%d\n", hv_is_hibernation_supported() && lis_bus_can_hibernate());
}
static BUS_ATTR_RO(hibernation);

static struct attribute *bus_attributes[] = { &bus_attr_hibernation.attr, NULL };
static const struct attribute_group bus_group = { .attrs = bus_attributes };
const struct attribute_group *lis_bus_groups[] = { &bus_group, NULL };

static ssize_t new_id_store(struct device_driver *driver, const char *text, size_t bytes)
{
	guid_t interface;
	int error = guid_parse(text, &interface);

	if (!error)
		error = lis_driver_add_id(to_lis_driver(driver), &interface);
	return error ?: bytes;
}
static DRIVER_ATTR_WO(new_id);

static ssize_t remove_id_store(struct device_driver *driver, const char *text, size_t bytes)
{
	guid_t interface;
	int error = guid_parse(text, &interface);

	if (!error)
		error = lis_driver_remove_id(to_lis_driver(driver), &interface);
	return error ?: bytes;
}
static DRIVER_ATTR_WO(remove_id);

static struct attribute *driver_attributes[] = { &driver_attr_new_id.attr,
						 &driver_attr_remove_id.attr, NULL };
static const struct attribute_group driver_group = { .attrs = driver_attributes };
const struct attribute_group *lis_driver_groups[] = { &driver_group, NULL };

/* Devices */

static struct lis_channel *channel_of(struct device *dev)
{
	return to_lis_device(dev)->channel;
}

static ssize_t id_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	return sysfs_emit(text, "%d\n", channel_of(dev)->core.offer.channel_id);
}
static DEVICE_ATTR_RO(id);

/* The numbers are those of the kernel's bus; it has one more state between opening and open. */
static ssize_t state_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	static const int states[] = {
		[VMBUS_CLIENT_CHANNEL_CLOSED] = 0,
		[VMBUS_CLIENT_CHANNEL_OPENING] = 1,
		[VMBUS_CLIENT_CHANNEL_OPEN] = 3,
	};

	return sysfs_emit(text, "%d\n", states[READ_ONCE(channel_of(dev)->core.state)]);
}
static DEVICE_ATTR_RO(state);

static ssize_t class_id_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	return sysfs_emit(text, "{%pUl}\n", &channel_of(dev)->core.offer.interface_id);
}
static DEVICE_ATTR_RO(class_id);

static ssize_t device_id_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	return sysfs_emit(text, "{%pUl}\n", &channel_of(dev)->core.offer.instance_id);
}
static DEVICE_ATTR_RO(device_id);

static ssize_t modalias_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	return sysfs_emit(text, "vmbus:%*phN\n", (int)sizeof(struct guid),
			  &channel_of(dev)->core.offer.interface_id);
}
static DEVICE_ATTR_RO(modalias);

static ssize_t numa_node_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	return sysfs_emit(text, "%d\n", cpu_to_node(READ_ONCE(channel_of(dev)->cpu)));
}
static DEVICE_ATTR_RO(numa_node);

static ssize_t channel_vp_mapping_show(struct device *dev, struct device_attribute *attribute,
				       char *text)
{
	const struct lis_channel *channel;
	ssize_t bytes = 0;

	mutex_lock(&lis_bus.channels_lock);
	list_for_each_entry(channel, &lis_bus.channels, node)
		if (channel->device == to_lis_device(dev))
			bytes += sysfs_emit_at(text, bytes, "%u:%u\n",
					       channel->core.offer.channel_id,
					       READ_ONCE(channel->cpu));
	mutex_unlock(&lis_bus.channels_lock);
	return bytes;
}
static DEVICE_ATTR_RO(channel_vp_mapping);

static ssize_t vendor_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	return sysfs_emit(text, "0x%x\n", VENDOR_MICROSOFT);
}
static DEVICE_ATTR_RO(vendor);

/* Kinds of devices in the order of enum hv_dev_type. Source: [linux 6.1 drivers/hv/channel_mgmt.c] */
static ssize_t device_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	static const struct guid kinds[] = {
		VMBUS_INTERFACE_IDE, VMBUS_INTERFACE_SCSI, VMBUS_INTERFACE_FIBRE_CHANNEL,
		VMBUS_INTERFACE_NETWORK, VMBUS_INTERFACE_RDMA, VMBUS_INTERFACE_PCI,
		VMBUS_INTERFACE_VIDEO, VMBUS_INTERFACE_KEYBOARD, VMBUS_INTERFACE_MOUSE,
		VMBUS_INTERFACE_KVP, VMBUS_INTERFACE_TIMESYNC, VMBUS_INTERFACE_HEARTBEAT,
		VMBUS_INTERFACE_SHUTDOWN, VMBUS_INTERFACE_FCOPY, VMBUS_INTERFACE_VSS,
		VMBUS_INTERFACE_BALLOON,
	};
	unsigned int kind;

	for (kind = 0; kind < ARRAY_SIZE(kinds); kind++)
		if (!guid_compare(&kinds[kind], &channel_of(dev)->core.offer.interface_id))
			break;
	return sysfs_emit(text, "0x%x\n", kind);
}
static DEVICE_ATTR_RO(device);

static ssize_t driver_override_show(struct device *dev, struct device_attribute *attribute,
				    char *text)
{
	return lis_device_show_override(to_lis_device(dev), text);
}

static ssize_t driver_override_store(struct device *dev, struct device_attribute *attribute,
				     const char *text, size_t bytes)
{
	return lis_device_set_override(to_lis_device(dev), text, bytes) ?: bytes;
}
static DEVICE_ATTR_RW(driver_override);

/* What a ring's control page says. */
#define RING_ATTRIBUTE(name, format, value) \
	static ssize_t name##_show(struct device *dev, struct device_attribute *attribute, \
				   char *text) \
	{ \
		struct vmbus_ring_status to_host, from_host; \
		int error = look_at_rings(channel_of(dev), &to_host, &from_host); \
\
		return error ?: sysfs_emit(text, format "\n", value); \
	} \
	static DEVICE_ATTR_RO(name)

RING_ATTRIBUTE(out_intr_mask, "%d", to_host.interrupt_mask);
RING_ATTRIBUTE(out_read_index, "%u", to_host.out);
RING_ATTRIBUTE(out_write_index, "%u", to_host.in);
RING_ATTRIBUTE(out_read_bytes_avail, "%d", to_host.used_bytes);
RING_ATTRIBUTE(out_write_bytes_avail, "%d", free_bytes(&to_host));
RING_ATTRIBUTE(in_intr_mask, "%d", from_host.interrupt_mask);
RING_ATTRIBUTE(in_read_index, "%d", from_host.out);
RING_ATTRIBUTE(in_write_index, "%d", from_host.in);
RING_ATTRIBUTE(in_read_bytes_avail, "%d", from_host.used_bytes);
RING_ATTRIBUTE(in_write_bytes_avail, "%d", free_bytes(&from_host));

#define MONITOR_ATTRIBUTE(name, side, value) \
	static ssize_t name##_show(struct device *dev, struct device_attribute *attribute, \
				   char *text) \
	{ \
		return show_monitor(channel_of(dev), side, value, text); \
	} \
	static DEVICE_ATTR_RO(name)

MONITOR_ATTRIBUTE(server_monitor_pending, SERVER, PENDING);
MONITOR_ATTRIBUTE(server_monitor_latency, SERVER, LATENCY);
MONITOR_ATTRIBUTE(server_monitor_conn_id, SERVER, CONNECTION_ID);
MONITOR_ATTRIBUTE(client_monitor_pending, CLIENT, PENDING);
MONITOR_ATTRIBUTE(client_monitor_latency, CLIENT, LATENCY);
MONITOR_ATTRIBUTE(client_monitor_conn_id, CLIENT, CONNECTION_ID);

static ssize_t monitor_id_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	return sysfs_emit(text, "%d\n", channel_of(dev)->core.offer.monitor_id);
}
static DEVICE_ATTR_RO(monitor_id);

static struct attribute *device_attributes[] = {
	&dev_attr_id.attr,
	&dev_attr_state.attr,
	&dev_attr_class_id.attr,
	&dev_attr_device_id.attr,
	&dev_attr_modalias.attr,
	&dev_attr_numa_node.attr,
	&dev_attr_channel_vp_mapping.attr,
	&dev_attr_vendor.attr,
	&dev_attr_device.attr,
	&dev_attr_driver_override.attr,
	&dev_attr_out_intr_mask.attr,
	&dev_attr_out_read_index.attr,
	&dev_attr_out_write_index.attr,
	&dev_attr_out_read_bytes_avail.attr,
	&dev_attr_out_write_bytes_avail.attr,
	&dev_attr_in_intr_mask.attr,
	&dev_attr_in_read_index.attr,
	&dev_attr_in_write_index.attr,
	&dev_attr_in_read_bytes_avail.attr,
	&dev_attr_in_write_bytes_avail.attr,
	NULL,
};

static const struct attribute_group device_group = { .attrs = device_attributes };

static struct attribute *device_monitor_attributes[] = {
	&dev_attr_monitor_id.attr,
	&dev_attr_server_monitor_pending.attr,
	&dev_attr_server_monitor_latency.attr,
	&dev_attr_server_monitor_conn_id.attr,
	&dev_attr_client_monitor_pending.attr,
	&dev_attr_client_monitor_latency.attr,
	&dev_attr_client_monitor_conn_id.attr,
	NULL,
};

/* Does the host watch a trigger for this channel? */
static bool is_monitored(const struct lis_channel *channel)
{
	return channel->core.offer.monitor_id != 0xff;
}

static umode_t device_monitor_visible(struct kobject *kobj, struct attribute *attribute, int n)
{
	return is_monitored(channel_of(kobj_to_dev(kobj))) ? attribute->mode : 0;
}

static const struct attribute_group device_monitor_group = {
	.attrs = device_monitor_attributes,
	.is_visible = device_monitor_visible,
};

const struct attribute_group *lis_device_groups[] = { &device_group, &device_monitor_group, NULL };

/* Channels */

struct channel_attribute {
	struct attribute attribute;
	ssize_t (*show)(struct lis_channel *channel, char *text);
	ssize_t (*store)(struct lis_channel *channel, const char *text, size_t bytes);
};

static struct lis_channel *channel_of_kobj(struct kobject *kobj)
{
	return container_of(kobj, struct lis_channel, kobj);
}

static ssize_t channel_show(struct kobject *kobj, struct attribute *attribute, char *text)
{
	const struct channel_attribute *it =
		container_of(attribute, struct channel_attribute, attribute);

	return it->show(channel_of_kobj(kobj), text);
}

static ssize_t channel_store(struct kobject *kobj, struct attribute *attribute, const char *text,
			     size_t bytes)
{
	const struct channel_attribute *it =
		container_of(attribute, struct channel_attribute, attribute);

	return it->store ? it->store(channel_of_kobj(kobj), text, bytes) : -EIO;
}

#define CHANNEL_ATTRIBUTE(name_, mode_, show_, store_) \
	static struct channel_attribute channel_attr_##name_ = { \
		.attribute = { .name = #name_, .mode = mode_ }, \
		.show = show_, \
		.store = store_, \
	}

static ssize_t channel_cpu_show(struct lis_channel *channel, char *text)
{
	return sysfs_emit(text, "%u\n", READ_ONCE(channel->cpu));
}

static ssize_t channel_cpu_store(struct lis_channel *channel, const char *text, size_t bytes)
{
	unsigned int cpu;
	int error;

	if (kstrtouint(text, 0, &cpu))
		return -EIO;
	cpus_read_lock();
	if (cpu < nr_cpu_ids && cpu_online(cpu))
		error = lis_channel_set_cpu(channel, cpu);
	else
		error = -EINVAL;
	cpus_read_unlock();
	return error ?: bytes;
}
CHANNEL_ATTRIBUTE(cpu, 0644, channel_cpu_show, channel_cpu_store);

/* The names are from the guest's point of view of each ring: "avail" to read in, to write out. */
#define CHANNEL_RING_ATTRIBUTE(name, value) \
	static ssize_t channel_##name##_show(struct lis_channel *channel, char *text) \
	{ \
		struct vmbus_ring_status to_host, from_host; \
		int error = look_at_rings(channel, &to_host, &from_host); \
\
		return error ?: sysfs_emit(text, "%u\n", value); \
	} \
	CHANNEL_ATTRIBUTE(name, 0444, channel_##name##_show, NULL)

CHANNEL_RING_ATTRIBUTE(out_mask, to_host.interrupt_mask);
CHANNEL_RING_ATTRIBUTE(in_mask, from_host.interrupt_mask);
CHANNEL_RING_ATTRIBUTE(read_avail, from_host.used_bytes);
CHANNEL_RING_ATTRIBUTE(write_avail, free_bytes(&to_host));

#define CHANNEL_COUNTER_ATTRIBUTE(name, counter) \
	static ssize_t channel_##name##_show(struct lis_channel *channel, char *text) \
	{ \
		return sysfs_emit(text, "%llu\n", READ_ONCE(channel->counters.counter)); \
	} \
	CHANNEL_ATTRIBUTE(name, 0444, channel_##name##_show, NULL)

CHANNEL_COUNTER_ATTRIBUTE(interrupts, interrupts);
CHANNEL_COUNTER_ATTRIBUTE(events, signals);
CHANNEL_COUNTER_ATTRIBUTE(intr_in_full, signals_room);
CHANNEL_COUNTER_ATTRIBUTE(intr_out_empty, signals_packet);
CHANNEL_COUNTER_ATTRIBUTE(out_full_first, full_first);
CHANNEL_COUNTER_ATTRIBUTE(out_full_total, full_total);

static ssize_t channel_subchannel_id_show(struct lis_channel *channel, char *text)
{
	return sysfs_emit(text, "%u\n", channel->core.offer.sub_channel_index);
}
CHANNEL_ATTRIBUTE(subchannel_id, 0444, channel_subchannel_id_show, NULL);

static ssize_t channel_monitor_id_show(struct lis_channel *channel, char *text)
{
	return sysfs_emit(text, "%u\n", channel->core.offer.monitor_id);
}
CHANNEL_ATTRIBUTE(monitor_id, 0444, channel_monitor_id_show, NULL);

static ssize_t channel_pending_show(struct lis_channel *channel, char *text)
{
	return show_monitor(channel, CLIENT, PENDING, text);
}
CHANNEL_ATTRIBUTE(pending, 0444, channel_pending_show, NULL);

static ssize_t channel_latency_show(struct lis_channel *channel, char *text)
{
	return show_monitor(channel, CLIENT, LATENCY, text);
}
CHANNEL_ATTRIBUTE(latency, 0444, channel_latency_show, NULL);

static struct attribute *channel_attributes[] = {
	&channel_attr_cpu.attribute,
	&channel_attr_out_mask.attribute,
	&channel_attr_in_mask.attribute,
	&channel_attr_read_avail.attribute,
	&channel_attr_write_avail.attribute,
	&channel_attr_interrupts.attribute,
	&channel_attr_events.attribute,
	&channel_attr_intr_in_full.attribute,
	&channel_attr_intr_out_empty.attribute,
	&channel_attr_out_full_first.attribute,
	&channel_attr_out_full_total.attribute,
	&channel_attr_subchannel_id.attribute,
	NULL,
};

static struct attribute *channel_monitor_attributes[] = {
	&channel_attr_monitor_id.attribute,
	&channel_attr_pending.attribute,
	&channel_attr_latency.attribute,
	NULL,
};

static umode_t channel_monitor_visible(struct kobject *kobj, struct attribute *attribute, int n)
{
	return is_monitored(channel_of_kobj(kobj)) ? attribute->mode : 0;
}

static const struct attribute_group channel_group = { .attrs = channel_attributes };
static const struct attribute_group channel_monitor_group = {
	.attrs = channel_monitor_attributes,
	.is_visible = channel_monitor_visible,
};
static const struct attribute_group *channel_groups[] = { &channel_group, &channel_monitor_group,
							  NULL };

static const struct sysfs_ops channel_sysfs_ops = { .show = channel_show, .store = channel_store };

static void channel_release(struct kobject *kobj)
{
	struct lis_channel *channel = channel_of_kobj(kobj);

	/* An interrupt may just look at it. */
	kfree_rcu(channel, rcu);
}

const struct kobj_type lis_channel_kobj_type = {
	.release = channel_release,
	.sysfs_ops = &channel_sysfs_ops,
	.default_groups = channel_groups,
};
