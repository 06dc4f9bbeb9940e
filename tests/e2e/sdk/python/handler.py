"""A function with the stock OpenTelemetry SDK for Python; nothing in it knows lambda-flush.

OTEL_EXPORTER_OTLP_PROTOCOL chooses among the three stock exporters. SDK_FLUSH=1 flushes in each invocation, as the
SDK's documentation advises for Lambda; otherwise everything waits for SIGTERM. SDK_WITNESS names a file that gets one
line of JSON for each invocation: what was recorded.
"""

import json
import os
import signal
import sys

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

CHILDREN = 4
LOGS = 2


def exporters(protocol):
    """The stock exporters of one protocol, for traces, metrics and logs; they read OTEL_EXPORTER_OTLP_ENDPOINT."""
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    elif protocol == "http/json":
        from opentelemetry.exporter.otlp.json.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.json.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
    else:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    return OTLPSpanExporter(), OTLPMetricExporter(), OTLPLogExporter()


# The control: the same SDK and the same work, and nothing leaves the process.
EXPORTS = os.environ.get("OTEL_TRACES_EXPORTER") != "none"
spans, metrics, logs = exporters(os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"])
tracers = TracerProvider(shutdown_on_exit=False)
meters = MeterProvider([PeriodicExportingMetricReader(metrics)] if EXPORTS else [], shutdown_on_exit=False)
loggers = LoggerProvider(shutdown_on_exit=False)
if EXPORTS:
    tracers.add_span_processor(BatchSpanProcessor(spans))
    loggers.add_log_record_processor(BatchLogRecordProcessor(logs))

tracer = tracers.get_tracer("sdk-function", "1.0")
logger = loggers.get_logger("sdk-function")
meter = meters.get_meter("sdk-function")
counter = meter.create_counter("sdk.counter")
histogram = meter.create_histogram("sdk.histogram")


def end(_signal, _frame):
    """Lambda's SIGTERM: what an SDK's documentation says to do."""
    for provider in (tracers, loggers, meters):
        provider.shutdown()
    print("sdk-function: shut down", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, end)


def identity(span, parent):
    context = span.get_span_context()
    return {
        "span": f"{context.span_id:016x}",
        "trace": f"{context.trace_id:032x}",
        "parent": parent,
        "name": span.name,
    }


def handle(event, _context):
    number = event["number"]
    recorded = {"spans": [], "logs": [], "sums": {"sdk.counter": 0, "sdk.histogram.count": 0, "sdk.histogram.sum": 0}}
    with tracer.start_as_current_span(f"invocation {number}", attributes={"number": number}) as root:
        root_id = f"{root.get_span_context().span_id:016x}"
        recorded["spans"].append(identity(root, ""))
        for child in range(CHILDREN):
            with tracer.start_as_current_span(f"child {number}.{child} ü", attributes={"zones": ["a", "b"]}) as span:
                span.add_event("half way", {"ratio": 0.5})
                recorded["spans"].append(identity(span, root_id))
            amount = number + child
            counter.add(amount, {"child": child})
            histogram.record(amount)
            recorded["sums"]["sdk.counter"] += amount
            recorded["sums"]["sdk.histogram.count"] += 1
            recorded["sums"]["sdk.histogram.sum"] += amount
        for log in range(LOGS):
            body = f"log {number}.{log} «ü»"
            logger.emit(LogRecord(body=body, severity_number=SeverityNumber.INFO, severity_text="INFO"))
            recorded["logs"].append(body)
    if EXPORTS and os.environ.get("SDK_FLUSH") == "1":
        for provider in (tracers, meters, loggers):
            provider.force_flush(5_000)
    with open(os.environ["SDK_WITNESS"], "a", encoding="utf-8") as witness:
        witness.write(json.dumps(recorded) + "\n")
    return {"number": number}
