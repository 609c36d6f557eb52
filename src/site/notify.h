/*
 * site/notify.h: tells systemd how far we are (sd_notify(3)'s protocol: a datagram to
 * $NOTIFY_SOCKET; no library for ten lines).
 */
#ifndef SITE_NOTIFY_H
#define SITE_NOTIFY_H

/* state: "READY=1", "STOPPING=1", "RELOADING=1", ...; does nothing unless systemd started us. */
void notify(const char *state);

#endif
