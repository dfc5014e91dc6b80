// Package metrics exports what an operator's alerts and dashboards need, for Prometheus.
//
// It promises a fixed set of series: no device, payment or path is a label, so that strangers cannot
// make it grow. Counters begin at zero with the process. The package does not decide what is wrong:
// internal/problem does.
package metrics
