// Opens the page of a notification that the customer asked for. It does nothing else.
"use strict";
self.addEventListener("notificationclick", event => {
  event.notification.close();
  event.waitUntil(self.clients.openWindow(event.notification.data));
});
