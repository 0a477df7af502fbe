package envoy

import (
	"time"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	heapMonitor = "envoy.resource_monitors.fixed_heap"
	heapRefresh = 100 * time.Millisecond // of the monitor: uploads are fast
	// trackedStream is how much a request must hold to be among those that are cut, as a power of two: 1 MiB.
	trackedStream = 20
)

// From which part of the heap on something is done, in the order in which it is.
const (
	shrinkAt = 0.80 // free memory goes back to the system
	cutFrom  = 0.85 // the requests that hold most are cut, more of them the more there is, until all are cut that hold much
	cutUntil = 0.98
	refuseAt = 0.90 // new requests get 503
	closeAt  = 0.98 // new connections are not accepted
)

// overload bounds what clients can make Envoy hold: connections and, where Memory says how much, bytes.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/operations/overload_manager/overload_manager
func (r *renderer) overload() *overloadv3.OverloadManager {
	m := &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
		Name: "envoy.resource_monitors.global_downstream_max_connections",
		ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: r.pack(&connectionsv3.DownstreamConnectionsConfig{
			MaxActiveDownstreamConnections: maxClientConnections,
		})},
	}}}
	if r.Memory == 0 {
		return m
	}
	m.RefreshInterval = durationpb.New(heapRefresh)
	m.ResourceMonitors = append(m.ResourceMonitors, &overloadv3.ResourceMonitor{
		Name:       heapMonitor,
		ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: r.pack(&heapv3.FixedHeapConfig{MaxHeapSizeBytes: uint64(r.Memory)})},
	})
	m.BufferFactoryConfig = &overloadv3.BufferFactoryConfig{MinimumAccountToTrackPowerOfTwo: trackedStream}
	m.Actions = []*overloadv3.OverloadAction{
		beyond("envoy.overload_actions.shrink_heap", shrinkAt),
		{Name: "envoy.overload_actions.reset_high_memory_stream", Triggers: []*overloadv3.Trigger{{
			Name:         heapMonitor,
			TriggerOneof: &overloadv3.Trigger_Scaled{Scaled: &overloadv3.ScaledTrigger{ScalingThreshold: cutFrom, SaturationThreshold: cutUntil}},
		}}},
		beyond("envoy.overload_actions.stop_accepting_requests", refuseAt),
		beyond("envoy.overload_actions.stop_accepting_connections", closeAt),
	}
	return m
}

// beyond is an action from a part of the heap on.
func beyond(action string, part float64) *overloadv3.OverloadAction {
	return &overloadv3.OverloadAction{Name: action, Triggers: []*overloadv3.Trigger{{
		Name: heapMonitor, TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: part}},
	}}}
}
