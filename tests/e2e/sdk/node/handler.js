// A function with the stock OpenTelemetry SDK for Node.js; nothing in it knows lambda-flush.
//
// The SDK configures itself by OTEL_* variables, the protocol of its exporters included. SDK_FLUSH=1 flushes in each
// invocation, as is advised for Lambda; otherwise everything waits for SIGTERM. SDK_WITNESS names a file that gets one
// line of JSON for each invocation: what was recorded.
'use strict';

const fs = require('node:fs');
const { context, metrics, trace } = require('@opentelemetry/api');
const { logs, SeverityNumber } = require('@opentelemetry/api-logs');
const { NodeSDK } = require('@opentelemetry/sdk-node');

const CHILDREN = 4;
const LOGS = 2;

const sdk = new NodeSDK();
sdk.start();

const tracer = trace.getTracer('sdk-function', '1.0');
const logger = logs.getLogger('sdk-function');
const meter = metrics.getMeter('sdk-function');
const counter = meter.createCounter('sdk.counter');
const histogram = meter.createHistogram('sdk.histogram');

// Lambda's SIGTERM: what the SDK's documentation says to do.
process.on('SIGTERM', async () => {
  await sdk.shutdown();
  console.log('sdk-function: shut down');
  process.exit(0);
});

async function flush() {
  // The API hands out a proxy for this one; only the SDK's own can be flushed.
  const tracers = trace.getTracerProvider().getDelegate();
  await Promise.all([tracers, metrics.getMeterProvider(), logs.getLoggerProvider()].map((own) => own.forceFlush()));
}

function identity(span, parent, name) {
  const { spanId, traceId } = span.spanContext();
  return { span: spanId, trace: traceId, parent, name };
}

exports.handle = async (event) => {
  const { number } = event;
  const sums = { 'sdk.counter': 0, 'sdk.histogram.count': 0, 'sdk.histogram.sum': 0 };
  const recorded = { spans: [], logs: [], sums };
  const name = `invocation ${number}`;
  const root = tracer.startSpan(name, { attributes: { number } });
  const rootContext = trace.setSpan(context.active(), root);
  recorded.spans.push(identity(root, '', name));
  for (let child = 0; child < CHILDREN; child += 1) {
    const childName = `child ${number}.${child} ü`;
    const span = tracer.startSpan(childName, { attributes: { zones: ['a', 'b'] } }, rootContext);
    span.addEvent('half way', { ratio: 0.5 });
    span.end();
    recorded.spans.push(identity(span, root.spanContext().spanId, childName));
    const amount = number + child;
    counter.add(amount, { child });
    histogram.record(amount);
    sums['sdk.counter'] += amount;
    sums['sdk.histogram.count'] += 1;
    sums['sdk.histogram.sum'] += amount;
  }
  for (let log = 0; log < LOGS; log += 1) {
    const body = `log ${number}.${log} «ü»`;
    logger.emit({ body, severityNumber: SeverityNumber.INFO, severityText: 'INFO', context: rootContext });
    recorded.logs.push(body);
  }
  root.end();
  if (process.env.SDK_FLUSH === '1') await flush();
  fs.appendFileSync(process.env.SDK_WITNESS, `${JSON.stringify(recorded)}\n`);
  return { number };
};
