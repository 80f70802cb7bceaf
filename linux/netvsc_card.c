// SPDX-License-Identifier: GPL-2.0-only
/*
 * Setting a network card up with its host, and taking it down. Both happen again whenever something
 * changes that the host is told only at the beginning: MTU, buffers, number of channels.
 *
 * Sub-channels come when the host offers them, one after the other, on the bus' own thread; when all
 * are there, or have had time enough, as many queues are used as there are channels side by side.
 */
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>

#include "linux/netvsc_nic.h"

/* How long frames in flight may take to come back when a card is taken down. [policy] */
#define DRAIN_MS 1000

/* What the core needs of a system */

static void *core_alloc(void *port, size_t bytes)
{
	return kvmalloc(bytes, GFP_KERNEL);
}

static void core_release(void *port, void *memory)
{
	kvfree(memory);
}

/* Waiting for the host */

static struct netvsc_port *primary_of(struct netvsc_card *card)
{
	return rcu_dereference_protected(card->ports[0], lockdep_rtnl_is_held());
}

static bool host_is_gone(const struct netvsc_card *card)
{
	return lis_channel_rescinded(card->nic->device->channel);
}

static void flush(struct netvsc_port *port)
{
	if (netvsc_channel_flush(&port->core))
		lis_channel_signal(port->channel, LIS_SIGNAL_PACKET);
}

/* Under the lock of queue 0: whatever is to be done with the primary channel's sending unit. */
#define with_primary(card, statement) \
	do { \
		struct netvsc_port *port_ = primary_of(card); \
		__netif_tx_lock_bh(netvsc_port_queue(port_)); \
		statement; \
		flush(port_); \
		__netif_tx_unlock_bh(netvsc_port_queue(port_)); \
	} while (0)

/* Wait for some of @events. Returns those that came, or 0: the host is gone. */
static u32 wait_for_news(struct netvsc_card *card, u32 events)
{
	u32 news = 0;

	events |= NETVSC_EVENT_BROKEN;
	for (;;) {
		wait_for_completion_timeout(&card->news_came, HZ / 10);
		news = (u32)atomic_read(&card->news) & events;
		if (news) {
			atomic_andnot((int)news, &card->news);
			return news;
		}
		if (host_is_gone(card))
			return 0;
		with_primary(card, news = netvsc_on_timer(&card->core, netvsc_now_ns()));
		atomic_or((int)news, &card->news);
	}
}

/* A request of control was begun, or not. Returns how it ended, 0 or -errno. */
static int wait_for_control(struct netvsc_card *card, int begun)
{
	u32 news;

	if (begun)
		return lis_errno(begun);
	news = wait_for_news(card, NETVSC_EVENT_CONTROL);
	if (!news)
		return -ENODEV;
	if (!(news & NETVSC_EVENT_CONTROL))
		return -EPROTO;
	return lis_errno(READ_ONCE(card->core.control.error));
}

static void forget_news(struct netvsc_card *card)
{
	reinit_completion(&card->news_came);
	atomic_andnot(NETVSC_EVENT_CONTROL, &card->news);
}

#define control(card, request) \
	({ \
		int begun_; \
		forget_news(card); \
		with_primary(card, begun_ = (request)); \
		wait_for_control(card, begun_); \
	})

/* Requests */

static u32 wanted_filter(const struct net_device *netdev)
{
	u32 filter = NDIS_FILTER_DIRECTED;

	if (!netif_running(netdev))
		return 0;
	if (netdev->flags & IFF_PROMISC)
		return NDIS_FILTER_PROMISCUOUS;
	if (!netdev_mc_empty(netdev) || (netdev->flags & IFF_ALLMULTI))
		filter |= NDIS_FILTER_ALL_MULTICAST;
	if (netdev->flags & IFF_BROADCAST)
		filter |= NDIS_FILTER_BROADCAST;
	return filter;
}

static int set_filter(struct netvsc_nic *nic, u32 filter)
{
	struct netvsc_card *card = netvsc_card_of(nic);
	int error;

	if (!card)
		return -ENODEV;
	if (filter == nic->filter)
		return 0;
	error = control(card, netvsc_set_filter(&card->core, filter, netvsc_now_ns()));
	if (!error)
		nic->filter = filter;
	return error;
}

int netvsc_update_filter(struct netvsc_nic *nic)
{
	return set_filter(nic, wanted_filter(nic->netdev));
}

int netvsc_update_mac(struct netvsc_nic *nic, const u8 *mac)
{
	struct netvsc_card *card = netvsc_card_of(nic);

	if (!card)
		return -ENODEV;
	return control(card, netvsc_set_mac(&card->core, mac, netvsc_now_ns()));
}

int netvsc_update_coalescing(struct netvsc_nic *nic, bool coalesce)
{
	struct netvsc_card *card = netvsc_card_of(nic);

	if (!card)
		return -ENODEV;
	return control(card, netvsc_set_coalescing(&card->core, coalesce, netvsc_now_ns()));
}

static u32 hash_types(const struct netvsc_nic *nic, const struct netvsc *core)
{
	u32 types = NDIS_HASH_IPV4 | NDIS_HASH_IPV6;

	if (nic->l4_hash & NETVSC_L4_TCP4)
		types |= NDIS_HASH_TCP_IPV4;
	if (nic->l4_hash & NETVSC_L4_TCP6)
		types |= NDIS_HASH_TCP_IPV6;
	if ((nic->l4_hash & NETVSC_L4_UDP4) && core->rss.udp_ipv4)
		types |= NDIS_HASH_UDP_IPV4;
	if ((nic->l4_hash & NETVSC_L4_UDP6) && core->rss.udp_ipv6)
		types |= NDIS_HASH_UDP_IPV6;
	return types;
}

int netvsc_update_rss(struct netvsc_nic *nic)
{
	struct netvsc_card *card = netvsc_card_of(nic);
	struct netvsc_rss rss = { };
	int error;

	if (!card)
		return -ENODEV;
	rss.table_count = card->core.rss.table_count;
	if (!rss.table_count)
		return 0;
	rss.hash_types = hash_types(nic, &card->core);
	for (unsigned int i = 0; i < NDIS_RSS_TABLE_COUNT; i++)
		rss.table[i] = netvsc_rss_queue(nic, i);
	memcpy(rss.key, nic->rss_key, sizeof(rss.key));
	/* Hosts want it off while it changes. */
	error = control(card, netvsc_set_rss(&card->core, &rss, netvsc_now_ns()));
	if (error)
		return error;
	rss.enabled = true;
	card->rss_set = true;
	return control(card, netvsc_set_rss(&card->core, &rss, netvsc_now_ns()));
}

void netvsc_set_carrier(struct netvsc_nic *nic)
{
	struct netvsc_card *card = netvsc_card_of(nic);

	if (card && netif_running(nic->netdev) && READ_ONCE(card->core.link_up))
		netif_carrier_on(nic->netdev);
	else
		netif_carrier_off(nic->netdev);
}

/* Channels */

static unsigned int online_ports(struct netvsc_card *card)
{
	unsigned int count = 0;

	while (count < NETVSC_CHANNELS_MAX && rcu_access_pointer(card->ports[count]))
		count++;
	return count;
}

/* Use the channels that are there, which are at least one. */
static void use_channels(struct netvsc_nic *nic)
{
	struct netvsc_card *card = netvsc_card_of(nic);
	unsigned int count = online_ports(card);
	int error;

	if (!netif_is_rxfh_configured(nic->netdev))
		for (unsigned int i = 0; i < NDIS_RSS_TABLE_COUNT; i++)
			nic->rss_table[i] = ethtool_rxfh_indir_default(i, count);
	error = netif_set_real_num_tx_queues(nic->netdev, count) ?:
		netif_set_real_num_rx_queues(nic->netdev, count);
	if (!error && (count > 1 || card->rss_set))
		error = netvsc_update_rss(nic);
	if (error)
		netdev_warn(nic->netdev, "%u channels cannot all be used, error %d\n", count,
			    error);
	for (unsigned int i = 0; i < count; i++)
		netvsc_port_show(rtnl_dereference(card->ports[i]));
	if (netif_running(nic->netdev))
		netif_tx_wake_all_queues(nic->netdev);
}

void netvsc_channels_work(struct work_struct *work)
{
	struct netvsc_nic *nic = container_of(work, struct netvsc_nic, channels_work.work);

	if (!rtnl_trylock()) {
		schedule_delayed_work(&nic->channels_work, HZ / 50);
		return;
	}
	if (netvsc_card_of(nic))
		use_channels(nic);
	rtnl_unlock();
}

void netvsc_sub_channel_offered(struct lis_device *device, struct lis_channel *channel)
{
	struct netvsc_nic *nic = dev_get_drvdata(&device->dev);
	unsigned int index = channel->core.offer.sub_channel_index;
	struct netvsc_card *card;
	int error = 0;

	mutex_lock(&nic->ports_mutex);
	card = rcu_dereference_protected(nic->card, lockdep_is_held(&nic->ports_mutex));
	if (card && card->takes_ports && index < card->ports_wanted) {
		error = netvsc_port_open(card, channel, index);
		if (card->port_count == card->ports_wanted)
			complete(&card->ports_came);
		if (card->port_count == card->ports_wanted)
			mod_delayed_work(system_percpu_wq, &nic->channels_work, 0);
	}
	mutex_unlock(&nic->ports_mutex);
	if (error && !lis_channel_rescinded(channel))
		netdev_warn(nic->netdev, "channel %u cannot be used, error %d\n", index, error);
}

/* Caller holds ports_mutex. Returns NULL where the channel is not one of the card's. */
static struct netvsc_port *port_of_channel(struct netvsc_nic *nic,
					   const struct lis_channel *channel)
{
	struct netvsc_card *card =
		rcu_dereference_protected(nic->card, lockdep_is_held(&nic->ports_mutex));

	for (unsigned int i = 1; card && i < NETVSC_CHANNELS_MAX; i++) {
		struct netvsc_port *port = rcu_dereference_protected(
			card->ports[i], lockdep_is_held(&nic->ports_mutex));

		if (port && port->channel == channel)
			return port;
	}
	return NULL;
}

static bool has_port(struct netvsc_nic *nic, const struct lis_channel *channel)
{
	bool has;

	mutex_lock(&nic->ports_mutex);
	has = port_of_channel(nic, channel);
	mutex_unlock(&nic->ports_mutex);
	return has;
}

void netvsc_sub_channel_rescinded(struct lis_device *device, struct lis_channel *channel)
{
	struct netvsc_nic *nic = dev_get_drvdata(&device->dev);
	struct netvsc_port *port;

	/* Those of a card that was taken down: whoever waits for new ones has the RTNL. */
	if (!has_port(nic, channel))
		return;
	rtnl_lock();
	mutex_lock(&nic->ports_mutex);
	port = port_of_channel(nic, channel);
	if (port) {
		netvsc_port_close(port);
		mod_delayed_work(system_percpu_wq, &nic->channels_work, 0);
	}
	mutex_unlock(&nic->ports_mutex);
	rtnl_unlock();
}

/* As many as wanted, as the host has, and as there are CPUs. */
static void ask_for_channels(struct netvsc_nic *nic, struct netvsc_card *card, bool wait)
{
	u32 count = min3(nic->channels, card->core.rss.queues_max, num_online_cpus());
	bool all;
	int error;

	card->ports_wanted = 1;
	if (count < 2 || card->core.version < NVSP_VERSION_5)
		return;
	mutex_lock(&nic->ports_mutex);
	card->ports_wanted = count;
	card->takes_ports = true;
	mutex_unlock(&nic->ports_mutex);
	error = control(card, netvsc_ask_sub_channels(&card->core, count - 1, netvsc_now_ns()));
	if (error) {
		netdev_warn(nic->netdev, "no sub-channels, error %d\n", error);
		card->ports_wanted = 1;
		return;
	}
	mutex_lock(&nic->ports_mutex);
	card->ports_wanted = 1 + card->core.sub_channels;
	all = card->port_count >= card->ports_wanted;
	mutex_unlock(&nic->ports_mutex);
	if (all)
		return;
	if (wait)
		wait_for_completion_timeout(&card->ports_came, NETVSC_CHANNELS_SECONDS * HZ);
	else
		schedule_delayed_work(&nic->channels_work, NETVSC_CHANNELS_SECONDS * HZ);
}

/* Setting up */

static struct netvsc_card *card_create(struct netvsc_nic *nic)
{
	struct netvsc_card *card = kvzalloc(sizeof(*card), GFP_KERNEL);
	struct netvsc_config config = {
		.name = dev_name(&nic->device->dev),
		.alloc = core_alloc,
		.release = core_release,
		.mtu = nic->netdev->mtu,
		.send_bytes_max = round_up(nic->send_sections * NETVSC_SEND_SECTION_BYTES,
					   HV_PAGE_BYTES),
		.again = nic->netdev->reg_state == NETREG_REGISTERED,
		.coalesce = nic->netdev->features & NETIF_F_LRO,
		.control_timeout_ns = NETVSC_CONTROL_SECONDS * NSEC_PER_SEC,
	};

	if (!card)
		return NULL;
	card->nic = nic;
	init_completion(&card->news_came);
	init_completion(&card->ports_came);
	card->control_page = (void *)get_zeroed_page(GFP_KERNEL);
	if (!card->control_page)
		goto free;
	config.control_page = card->control_page;
	config.control_pfn = page_to_pfn(virt_to_page(card->control_page));
	if (!netvsc_init(&card->core, &config))
		return card;
	netvsc_fini(&card->core);
	free_page((unsigned long)card->control_page);
free:
	kvfree(card);
	return NULL;
}

/* Its channels are closed, and nobody can find it any more. */
static void card_destroy(struct netvsc_card *card)
{
	netvsc_fini(&card->core);
	/* What the host may still read is never anybody else's. */
	if (!card->lost)
		free_page((unsigned long)card->control_page);
	kvfree(card);
}

static int set_buffers(struct netvsc_card *card)
{
	struct netvsc_nic *nic = card->nic;
	u32 receive_bytes = min(nic->receive_sections * NETVSC_RECEIVE_SECTION_BYTES,
				netvsc_receive_bytes_max(&card->core));
	struct netvsc_buffer receive, send;
	int error;

	card->receive_buffer = lis_buffer_create(nic->device->channel, receive_bytes);
	if (IS_ERR(card->receive_buffer))
		return PTR_ERR(card->receive_buffer);
	card->send_buffer = lis_buffer_create(nic->device->channel,
					      nic->send_sections * NETVSC_SEND_SECTION_BYTES);
	if (IS_ERR(card->send_buffer))
		return PTR_ERR(card->send_buffer);
	receive = (struct netvsc_buffer){ card->receive_buffer->memory, card->receive_buffer->bytes,
					  card->receive_buffer->gpadl_id };
	send = (struct netvsc_buffer){ card->send_buffer->memory, card->send_buffer->bytes,
				       card->send_buffer->gpadl_id };
	with_primary(card, error = netvsc_set_buffers(&card->core, &receive, &send,
						      netvsc_now_ns()));
	return lis_errno(error);
}

/* Returns 0 or -errno; the primary channel is open. */
static int set_up(struct netvsc_card *card)
{
	u32 news;
	int error;

	with_primary(card, error = netvsc_start(&card->core, netvsc_now_ns()));
	if (error)
		return lis_errno(error);
	news = wait_for_news(card, NETVSC_EVENT_BUFFERS | NETVSC_EVENT_FAILED);
	if (news & NETVSC_EVENT_BUFFERS) {
		error = set_buffers(card);
		if (error)
			return error;
		news = wait_for_news(card, NETVSC_EVENT_READY | NETVSC_EVENT_FAILED);
	}
	if (news & NETVSC_EVENT_READY)
		return 0;
	if (!news)
		return -ENODEV;
	return card->core.error ? lis_errno(card->core.error) : -EPROTO;
}

/* Taking down */

static bool is_quiet(struct netvsc_card *card)
{
	for (unsigned int i = 0; i < NETVSC_CHANNELS_MAX; i++) {
		struct netvsc_port *port = rtnl_dereference(card->ports[i]);

		if (port && !netvsc_port_quiet(port))
			return false;
	}
	return true;
}

/* What the host has is given back before its channels go, if it is quick about it. */
static void drain(struct netvsc_card *card)
{
	unsigned long end = jiffies + msecs_to_jiffies(DRAIN_MS);

	while (!host_is_gone(card) && !is_quiet(card) && time_before(jiffies, end))
		usleep_range(200, 1000);
}

static void say_farewell(struct netvsc_card *card)
{
	struct netvsc_nic *nic = card->nic;

	if (!primary_of(card) || host_is_gone(card) || card->core.state != NETVSC_READY)
		return;
	set_filter(nic, 0);
	drain(card);
	(void)control(card, netvsc_halt(&card->core, netvsc_now_ns()));
}

/* Closes all channels and takes the buffers back. */
static void close_card(struct netvsc_card *card)
{
	struct netvsc_nic *nic = card->nic;

	if (primary_of(card) && !host_is_gone(card))
		with_primary(card, netvsc_revoke(&card->core));
	mutex_lock(&nic->ports_mutex);
	card->takes_ports = false;
	/* The primary is the last to go. */
	for (unsigned int i = NETVSC_CHANNELS_MAX; i-- > 0;) {
		struct netvsc_port *port = rcu_dereference_protected(
			card->ports[i], lockdep_is_held(&nic->ports_mutex));

		if (port)
			netvsc_port_close(port);
	}
	RCU_INIT_POINTER(nic->card, NULL);
	mutex_unlock(&nic->ports_mutex);
	lis_buffer_destroy(card->receive_buffer);
	lis_buffer_destroy(card->send_buffer);
	synchronize_net();
	card_destroy(card);
}

void netvsc_detach(struct netvsc_nic *nic)
{
	struct netvsc_card *card = netvsc_card_of(nic);

	ASSERT_RTNL();
	cancel_delayed_work_sync(&nic->channels_work);
	if (!card)
		return;
	netif_device_detach(nic->netdev);
	netif_tx_disable(nic->netdev);
	netif_carrier_off(nic->netdev);
	say_farewell(card);
	close_card(card);
	nic->filter = 0;
}

/* What depends on the host. */
#define CARD_FEATURES \
	(NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM | NETIF_F_TSO | NETIF_F_TSO6 | NETIF_F_LRO)

/* What the card can do becomes what the network device can; what the host has lost is off. */
static void take_features(struct netvsc_nic *nic, const struct netvsc *core)
{
	const struct netvsc_offloads *can = &core->offloads;
	struct net_device *netdev = nic->netdev;
	netdev_features_t features = 0;
	u32 longest = GSO_LEGACY_MAX_SIZE;

	if (can->tcp_ipv4)
		features |= NETIF_F_IP_CSUM;
	if (can->tcp_ipv6)
		features |= NETIF_F_IPV6_CSUM;
	if (can->segments_ipv4_bytes) {
		features |= NETIF_F_TSO;
		longest = min(longest, can->segments_ipv4_bytes);
	}
	if (can->segments_ipv6_bytes) {
		features |= NETIF_F_TSO6;
		longest = min(longest, can->segments_ipv6_bytes);
	}
	if (can->coalesce_ipv4 && can->coalesce_ipv6)
		features |= NETIF_F_LRO;
	netdev->hw_features &= ~CARD_FEATURES;
	netdev->hw_features |= features;
	netdev->features &= ~CARD_FEATURES | features;
	netif_set_tso_max_size(netdev, longest);
}

void netvsc_take_speed(struct netvsc_nic *nic, const struct netvsc *core)
{
	u64 bits_per_second = READ_ONCE(core->bits_per_second);
	u32 speed = SPEED_UNKNOWN;

	if (bits_per_second)
		speed = (u32)div_u64(bits_per_second, 1000000);
	if (speed != nic->host_speed)
		nic->speed = speed;
	nic->host_speed = speed;
}

static int attach(struct netvsc_nic *nic, bool wait)
{
	struct netvsc_card *card = card_create(nic);
	int error;

	if (!card)
		return -ENOMEM;
	mutex_lock(&nic->ports_mutex);
	error = netvsc_port_open(card, nic->device->channel, 0);
	rcu_assign_pointer(nic->card, card);
	mutex_unlock(&nic->ports_mutex);
	if (!error)
		error = set_up(card);
	/* Later on the MTU is what somebody asked for. */
	if (!error && nic->netdev->reg_state != NETREG_REGISTERED)
		nic->netdev->mtu = card->core.mtu;
	else if (!error && card->core.mtu < nic->netdev->mtu)
		error = -EINVAL; /* the host does not take such long frames */
	if (error) {
		close_card(card);
		return error;
	}
	take_features(nic, &card->core);
	netvsc_take_speed(nic, &card->core);
	ask_for_channels(nic, card, wait);
	return 0;
}

/* A card that is set up anew has its permanent address. */
static void give_mac(struct netvsc_nic *nic)
{
	const u8 *mac = nic->netdev->dev_addr;

	if (nic->netdev->reg_state != NETREG_REGISTERED ||
	    ether_addr_equal(mac, netvsc_card_of(nic)->core.mac))
		return;
	if (netvsc_update_mac(nic, mac))
		netdev_warn(nic->netdev, "the host does not take its address again\n");
}

int netvsc_attach(struct netvsc_nic *nic, bool wait)
{
	int error = attach(nic, wait);

	if (error)
		return error;
	give_mac(nic);
	use_channels(nic);
	netif_device_attach(nic->netdev);
	if (nic->netdev->reg_state == NETREG_REGISTERED)
		netdev_update_features(nic->netdev);
	if (!netif_running(nic->netdev))
		return 0;
	error = netvsc_update_filter(nic);
	if (error) {
		netvsc_detach(nic);
		return error;
	}
	netvsc_set_carrier(nic);
	return 0;
}

void netvsc_give_up(struct netvsc_nic *nic, int error)
{
	netdev_err(nic->netdev, "the card cannot be set up again, error %d\n", error);
	/* Whoever wants to change something tries again; frames are dropped as long as that. */
	netif_device_attach(nic->netdev);
}

int netvsc_change(struct netvsc_nic *nic, void (*undo)(struct netvsc_nic *nic, void *arg),
		  void *arg)
{
	int error, second;

	netvsc_detach(nic);
	error = netvsc_attach(nic, true);
	if (!error)
		return 0;
	undo(nic, arg);
	second = netvsc_attach(nic, true);
	if (second)
		netvsc_give_up(nic, second);
	return error;
}
