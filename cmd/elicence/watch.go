package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	spancodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/elicence/elicence/api"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/templates"
)

// watch is what a service measures and traces. Labels and attributes are codes, organisations, types and stages of our own
// making: never a value of a request, a number, an identifier or a person. A nil *watch measures nothing. It is safe for
// concurrent use.
type watch struct {
	registry *prometheus.Registry
	tracer   trace.Tracer

	births     *prometheus.CounterVec   // outcome
	refused    *prometheus.CounterVec   // code
	stages     *prometheus.HistogramVec // stage
	operations *prometheus.HistogramVec // operation, code
	loops      *prometheus.HistogramVec // loop
	loopErrors *prometheus.CounterVec   // loop
	storeError *prometheus.CounterVec   // store

	pending, pendingAge, unsealed, unfinished, ready prometheus.Gauge
	// Of a Fabric network.
	blocksBehind, aside, halted prometheus.Gauge

	stock  *prometheus.GaugeVec // issuer, type
	ending *prometheus.GaugeVec // what
}

// Stages of a birth, as metrics and spans name them.
const (
	stageIntent = "intent"
	stageDraw   = "draw"
	stageSign   = "sign"
	stageCheck  = "check"
	stageSigned = "signed"
	stageStore  = "store"
	stageIssued = "issued"
	stageStep   = "step"
	stageBirth  = "birth"
)

// newWatch registers everything with a registry of its own. A nil tracer traces nothing.
func newWatch(tracer trace.Tracer) *watch {
	if tracer == nil {
		tracer = noop.NewTracerProvider().Tracer("")
	}
	r := prometheus.NewRegistry()
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "elicence", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "elicence", Name: name, Help: help,
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, labels)
		r.MustRegister(h)
		return h
	}
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "elicence", Name: name, Help: help}, labels)
		r.MustRegister(g)
		return g
	}
	gauge := func(name, help string) prometheus.Gauge { return gauges(name, help).WithLabelValues() }
	w := &watch{
		registry:     r,
		tracer:       tracer,
		births:       counter("births_total", "Lines of batches by what became of them: issued, stands, refused, failed.", "outcome"),
		refused:      counter("births_not_issued_total", "Lines that were refused or failed, by code.", "code"),
		stages:       histogram("stage_seconds", "How long each stage of a birth or step took.", "stage"),
		operations:   histogram("operation_seconds", "How long operations took; code is empty for those that succeeded.", "operation", "code"),
		loops:        histogram("loop_seconds", "How long a turn of each loop took.", "loop"),
		loopErrors:   counter("loop_errors_total", "Turns of each loop that failed.", "loop"),
		storeError:   counter("store_errors_total", "Failures of records, objects and keys, as issuing met them.", "store"),
		pending:      gauge("ledger_pending_events", "Events that the ledger has not answered."),
		pendingAge:   gauge("ledger_pending_age_seconds", "Age of the oldest event that the ledger has not answered."),
		blocksBehind: gauge("chain_blocks_behind", "Blocks that the own peer has and the log has not; 0 when the peer does not answer."),
		aside:        gauge("chain_events_aside", "Events that the last submission left waiting, because the peers do not take them."),
		halted:       gauge("chain_halted", "1 when following or cosigning stands still: the chain does not agree, or the peer is away."),
		unsealed:     gauge("audit_unsealed_rows", "Audit rows that are not chained yet."),
		unfinished:   gauge("licences_unfinished", "Licences at intent or signed, at most 1024."),
		ready:        gauge("ready", "1 when the last readiness check passed."),
		stock:        gauges("stock_free_sheets", "Free sheets of each pile.", "issuer", "type"),
		ending:       gauges("expires_timestamp_seconds", "When what is published, or the first certificate that signs, is over.", "what"),
	}
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, outcome := range []string{"issued", "stands", "refused", "failed"} {
		w.births.WithLabelValues(outcome)
	}
	for _, store := range []string{"records", "objects", "keys"} {
		w.storeError.WithLabelValues(store)
	}
	return w
}

// page is /metrics.
func (w *watch) page() http.Handler {
	return promhttp.HandlerFor(w.registry, promhttp.HandlerOpts{})
}

func (w *watch) birth(l batchLine) {
	if w == nil {
		return
	}
	w.births.WithLabelValues(l.Outcome).Inc()
	if l.Outcome == "refused" || l.Outcome == "failed" {
		w.refused.WithLabelValues(l.code).Inc()
		return
	}
	if l.Outcome == "issued" {
		w.stages.WithLabelValues(stageBirth).Observe(l.took.Seconds())
	}
}

func (w *watch) operated(name string, took time.Duration, p *api.Problem) {
	code := ""
	if p != nil {
		code = p.Code
	}
	w.operations.WithLabelValues(name, code).Observe(took.Seconds())
}

func (w *watch) knowLoop(name string) {
	if w != nil {
		w.loopErrors.WithLabelValues(name)
	}
}

func (w *watch) looped(name string, took time.Duration, err error) {
	if w == nil {
		return
	}
	w.loops.WithLabelValues(name).Observe(took.Seconds())
	if err != nil {
		w.loopErrors.WithLabelValues(name).Inc()
	}
}

func (w *watch) lag(events int, age time.Duration, unsealed, unfinished int) {
	if w == nil {
		return
	}
	w.pending.Set(float64(events))
	w.pendingAge.Set(age.Seconds())
	w.unsealed.Set(float64(unsealed))
	w.unfinished.Set(float64(unfinished))
}

// chain is how the log stands to the chain.
func (w *watch) chain(behind uint64, aside int, halted bool) {
	if w == nil {
		return
	}
	w.blocksBehind.Set(float64(behind))
	w.aside.Set(float64(aside))
	w.halted.Set(0)
	if halted {
		w.halted.Set(1)
	}
}

func (w *watch) free(piles map[issuing.Pile]int) {
	if w == nil {
		return
	}
	w.stock.Reset() // a pile without any free sheet is not counted: it must not keep its last number
	for p, n := range piles {
		w.stock.WithLabelValues(p.Issuer, p.Type).Set(float64(n))
	}
}

func (w *watch) ends(ends map[string]time.Time, _ time.Time) {
	if w == nil {
		return
	}
	for what, until := range ends {
		w.ending.WithLabelValues(what).Set(float64(until.Unix()))
	}
}

// span begins one; the function that it returns ends it with the code of its error.
func (w *watch) span(ctx context.Context, name string) (context.Context, func(error)) {
	if w == nil {
		return ctx, func(error) {}
	}
	ctx, span := w.tracer.Start(ctx, name)
	return ctx, func(err error) {
		if err != nil && span.IsRecording() {
			code := travelling(err).Code
			span.SetStatus(spancodes.Error, code)
			span.SetAttributes(attribute.String("elicence.code", code))
		}
		span.End()
	}
}

// stage measures one stage and traces it.
func (w *watch) stage(ctx context.Context, name string) (context.Context, func(error)) {
	begun := time.Now()
	ctx, end := w.span(ctx, "stage "+name)
	return ctx, func(err error) {
		w.stages.WithLabelValues(name).Observe(time.Since(begun).Seconds())
		end(err)
	}
}

// away counts what a store failed of.
func (w *watch) away(store string, err error) {
	if errors.Is(err, licence.ErrUnavailable) || store == "objects" && err != nil && !errors.Is(err, objects.ErrNotFound) && !errors.Is(err, context.Canceled) ||
		store == "keys" && err != nil && !errors.Is(err, context.Canceled) {
		w.storeError.WithLabelValues(store).Inc()
	}
}

// around puts measuring in front of what issuing works with.
func (w *watch) around(n issuing.Needs) issuing.Needs {
	if w == nil {
		return n
	}
	check := n.SelfCheck
	n.Records, n.Objects, n.Keys, n.Renderer = watchedRecords{n.Records, w}, watchedObjects{n.Objects, w}, watchedKeys{n.Keys, w}, watchedRenderer{n.Renderer, w}
	n.SelfCheck = func(ctx context.Context, file []byte) (err error) {
		ctx, end := w.stage(ctx, stageCheck)
		defer func() { end(err) }()
		return check(ctx, file)
	}
	return n
}

type watchedRecords struct {
	issuing.Records
	w *watch
}

func (r watchedRecords) Begin(ctx context.Context, b issuing.Beginning) (l issuing.Licence, fresh bool, err error) {
	ctx, end := r.w.stage(ctx, stageIntent)
	defer func() { end(err); r.w.away("records", err) }()
	return r.Records.Begin(ctx, b)
}

func (r watchedRecords) CommitSigned(ctx context.Context, id string, epoch int64, s issuing.Signatures) (err error) {
	ctx, end := r.w.stage(ctx, stageSigned)
	defer func() { end(err); r.w.away("records", err) }()
	return r.Records.CommitSigned(ctx, id, epoch, s)
}

func (r watchedRecords) CommitIssued(ctx context.Context, id string, epoch int64, c issuing.Completion) (err error) {
	ctx, end := r.w.stage(ctx, stageIssued)
	defer func() { end(err); r.w.away("records", err) }()
	return r.Records.CommitIssued(ctx, id, epoch, c)
}

func (r watchedRecords) AppendStep(ctx context.Context, s issuing.Step) (err error) {
	ctx, end := r.w.stage(ctx, stageStep)
	defer func() { end(err); r.w.away("records", err) }()
	return r.Records.AppendStep(ctx, s)
}

func (r watchedRecords) LastEventTime(ctx context.Context) (at time.Time, err error) {
	at, err = r.Records.LastEventTime(ctx)
	r.w.away("records", err)
	return at, err
}

type watchedObjects struct {
	issuing.Objects
	w *watch
}

func (o watchedObjects) Put(ctx context.Context, object issuing.Object) (err error) {
	ctx, end := o.w.stage(ctx, stageStore)
	defer func() { end(err); o.w.away("objects", err) }()
	return o.Objects.Put(ctx, object)
}

func (o watchedObjects) Get(ctx context.Context, key string) ([]byte, error) {
	b, err := o.Objects.Get(ctx, key)
	o.w.away("objects", err)
	return b, err
}

type watchedKeys struct {
	issuing.Keys
	w *watch
}

func (k watchedKeys) Current(ctx context.Context, organisation string, p purpose.Purpose) (issuing.Signing, error) {
	s, err := k.Keys.Current(ctx, organisation, p)
	return k.watched(s, err)
}

func (k watchedKeys) ByCertificate(ctx context.Context, organisation string, sm3 [32]byte) (issuing.Signing, error) {
	s, err := k.Keys.ByCertificate(ctx, organisation, sm3)
	return k.watched(s, err)
}

func (k watchedKeys) watched(s issuing.Signing, err error) (issuing.Signing, error) {
	k.w.away("keys", err)
	if err == nil {
		s.Key = watchedKey{s.Key, k.w}
	}
	return s, err
}

type watchedKey struct {
	signer.Key
	w *watch
}

func (k watchedKey) Sign(ctx context.Context, form purpose.Form, message []byte) (rs []byte, err error) {
	ctx, end := k.w.stage(ctx, stageSign)
	defer func() { end(err); k.w.away("keys", err) }()
	return k.Key.Sign(ctx, form, message)
}

type watchedRenderer struct {
	issuing.Renderer
	w *watch
}

func (r watchedRenderer) Render(p templates.Part) (*templates.Unsigned, error) {
	_, end := r.w.stage(context.Background(), stageDraw) // drawing knows no context
	u, err := r.Renderer.Render(p)
	end(err)
	return u, err
}
