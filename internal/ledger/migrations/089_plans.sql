-- needs: 066
-- What was found by reading whole tables: the links of a device, and the disputes that wait for an answer.
CREATE INDEX links_of_device ON links (device_uid);
CREATE INDEX disputes_to_answer ON disputes (id) WHERE status IN ('needs_response', 'warning_needs_response');
