"""One dashboard, alarms that reach somebody, saved log queries, and a budget."""

from parley_constructs.monitoring.monitoring import Monitoring
from parley_constructs.monitoring.props import AlarmThresholds, AssistantMetrics, MonitoredQueue, MonitoringProps

__all__ = ["AlarmThresholds", "AssistantMetrics", "MonitoredQueue", "Monitoring", "MonitoringProps"]
