// SPDX-License-Identifier: GPL-2.0-only
/*
 * hv_utils: power off, restart and hibernate as the host asks.
 *
 * All three only set something going, in user space first, and nobody tells us what became of it.
 * So a request counts as under way for a while, and when the guest is alive after that, new ones
 * are taken: user space may have lost the first.
 */
#include <linux/reboot.h>

#include <asm/mshyperv.h>

#include "linux/utils.h"
#include "services/shutdown_guest.h"

/* How long a request is under way: not so short that an impatient host is served twice. [policy] */
#define UNDER_WAY_SECONDS 60

struct utils_shutdown {
	struct utils_service service;
	struct shutdown_guest guest;
	struct delayed_work over_work;
};

static struct utils_shutdown *to_shutdown(struct utils_service *service)
{
	return container_of(service, struct utils_shutdown, service);
}

static void over(struct work_struct *work)
{
	struct utils_shutdown *shutdown = container_of(work, struct utils_shutdown, over_work.work);

	mutex_lock(&shutdown->service.lock);
	shutdown_guest_over(&shutdown->guest);
	mutex_unlock(&shutdown->service.lock);
}

/* The firmware has the state, and the bus and its drivers come back from it. */
static bool can_hibernate(void)
{
	return hv_is_hibernation_supported() && lis_bus_can_hibernate();
}

static int shutdown_init(struct utils_service *service)
{
	struct utils_shutdown *shutdown = to_shutdown(service);
	struct lis_channel *channel = service->device->channel;

	INIT_DELAYED_WORK(&shutdown->over_work, over);
	shutdown_guest_init(&shutdown->guest, &channel->to_host, &channel->from_host,
			    can_hibernate());
	return 0;
}

static u32 shutdown_receive(struct utils_service *service)
{
	return shutdown_guest_receive(&to_shutdown(service)->guest);
}

/* There is no kernel function for it; udev's rules start the hibernation. */
static void ask_to_hibernate(struct utils_service *service)
{
	char *variables[] = { "EVENT=hibernate", NULL };
	struct device *dev = &service->device->dev;
	int error = kobject_uevent_env(&dev->kobj, KOBJ_CHANGE, variables);

	if (error)
		dev_err(dev, "user space cannot be told to hibernate, error %d\n", error);
}

static void shutdown_act(struct utils_service *service, u32 events)
{
	struct utils_shutdown *shutdown = to_shutdown(service);

	if (!(events & SHUTDOWN_GUEST_EVENT_REQUEST))
		return;
	switch (shutdown->guest.request.kind) {
	case SHUTDOWN_GUEST_POWER_OFF:
		/* Forced in any case: the kernel does it where user space cannot be asked. */
		orderly_poweroff(true);
		break;
	case SHUTDOWN_GUEST_REBOOT:
		orderly_reboot();
		break;
	case SHUTDOWN_GUEST_HIBERNATE:
		ask_to_hibernate(service);
		break;
	}
	schedule_delayed_work(&shutdown->over_work, UNDER_WAY_SECONDS * HZ);
}

static void shutdown_fini(struct utils_service *service)
{
	cancel_delayed_work_sync(&to_shutdown(service)->over_work);
}

const struct utils_service_kind utils_shutdown = {
	.bytes = sizeof(struct utils_shutdown),
	.init = shutdown_init,
	.receive = shutdown_receive,
	.act = shutdown_act,
	.suspend = shutdown_fini,
	.fini = shutdown_fini,
};
