package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/licence"
)

// jobsShown is how many rows of one state jobs list shows.
const jobsShown = 1000

func (a *app) jobsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "jobs",
		Short: "待办 · due work: deliveries to other organisations, and upkeep; list, run, retry, cancel, release",
		Long: `What an installation owes others is written down with the data itself and done until it is done: parts to the
police, hand-overs to archives, lists that must be published before they end. A receiver that is away is tried again,
less and less often; what it refuses, or what failed too often, becomes a dead letter that waits for a person.

States: held (waits for the paper to be given to the claimant), due, leased (being done), done, dead, cancelled. What is
done or cancelled is kept for 90 days (setting deliver.keep).`,
		Example: "  elicence jobs list\n  elicence jobs run",
	}
	c.AddCommand(a.jobsList(), a.jobsRun(), a.jobsRetry(), a.jobsCancel(), a.jobsRelease())
	return c
}

// jobRow is a job as it is told.
type jobRow struct {
	ID       int64         `json:"id"`
	State    due.State     `json:"state"`
	Receiver string        `json:"receiver"` // or the name of an upkeep
	Topic    string        `json:"topic"`
	Number   string        `json:"number,omitempty"`
	Issuer   string        `json:"issuer,omitempty"`
	Key      string        `json:"key"`
	Due      time.Time     `json:"due"`
	Attempts int           `json:"attempts"`
	Failure  string        `json:"failure,omitempty"` // code
	Detail   string        `json:"detail,omitempty"`
	Words    *licence.Text `json:"words,omitempty"`
	FailedAt *time.Time    `json:"failedAt,omitempty"`
	EndedAt  *time.Time    `json:"endedAt,omitempty"`
	Paused   *time.Time    `json:"pausedUntil,omitempty"` // the receiver was away
	Unknown  bool          `json:"unknownReceiver,omitempty"`
}

func (i *installation) jobRow(j due.Job) jobRow {
	r := jobRow{ID: j.ID, State: j.State, Receiver: j.Lane, Topic: j.Topic, Number: j.Number, Issuer: j.Issuer, Key: j.Key,
		Due: j.Due.In(i.zone), Attempts: j.Attempts, Failure: j.Failure.Code, Detail: j.Failure.Detail}
	if j.Failure.Code != "" {
		w := due.Say(j.Failure.Code)
		r.Words = &licence.Text{ZH: w.ZH, EN: w.EN}
	}
	when := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = t.In(i.zone)
		return &t
	}
	r.FailedAt, r.EndedAt = when(j.FailedAt), when(j.Ended)
	r.Unknown = j.Licence != "" && !i.config.Deliver.has(j.Lane)
	return r
}

var stateWords = map[due.State]string{
	due.Held: "待领证 held", due.Due: "待办 due", due.Leased: "办理中 leased", due.Done: "已办 done", due.Dead: "退信 dead", due.Cancelled: "取消 cancelled",
}

func (r jobRow) print(w io.Writer) {
	number := r.Number
	if number == "" {
		number = "-"
	}
	fmt.Fprintf(w, "%6d  %s  %s  %s  %s  %s", r.ID, stateWords[r.State], r.Receiver, r.Topic, number, r.Due.Format("2006-01-02 15:04:05"))
	if r.Attempts > 0 {
		fmt.Fprintf(w, "  第 %d 次 attempt %d", r.Attempts, r.Attempts)
	}
	if r.Words != nil {
		fmt.Fprintf(w, "  %s / %s", r.Words.ZH, r.Words.EN)
		if r.Detail != "" {
			fmt.Fprintf(w, " (%s)", r.Detail)
		}
	}
	if r.Paused != nil {
		fmt.Fprintf(w, "  暂停至 paused until %s", r.Paused.Format("15:04:05"))
	}
	if r.Unknown {
		fmt.Fprint(w, "  未配置此接收方 no such receiver is configured")
	}
	fmt.Fprintln(w)
}

func (a *app) jobsList() *cobra.Command {
	var state, receiver string
	c := &cobra.Command{
		Use:   "list [--state due|held|leased|dead|done|cancelled] [--receiver ORG]",
		Short: "列出 · what is to be done and what came back; without --state all that is neither done nor cancelled",
		Example: `  elicence jobs list
  elicence jobs list --state dead --receiver 12310000DEMP000012
  elicence jobs list --state done --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			states := []due.State{due.Dead, due.Leased, due.Due, due.Held}
			if state != "" {
				if !slices.Contains(due.States(), due.State(state)) {
					return usage("--state is one of dead, leased, due, held, done, cancelled")
				}
				states = []due.State{due.State(state)}
			}
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			rows, cut, err := i.jobRows(cmd.Context(), states, receiver)
			if err != nil {
				return err
			}
			return a.tell(rows, func(w io.Writer) {
				for _, r := range rows {
					r.print(w)
				}
				if len(rows) == 0 {
					fmt.Fprintln(w, "没有 nothing")
				}
				if cut {
					fmt.Fprintf(a.stderr, "elicence: 每种状态只列前 %d 件 / the first %d of each state\n", jobsShown, jobsShown)
				}
			})
		},
	}
	c.Flags().StringVar(&state, "state", "", "only this state")
	c.Flags().StringVar(&receiver, "receiver", "", "only this receiver's: an organisation's code, or the name of an upkeep")
	return c
}

func (i *installation) jobRows(ctx context.Context, states []due.State, receiver string) (rows []jobRow, cut bool, err error) {
	rows = []jobRow{}
	paused := map[string]*time.Time{}
	for _, s := range states {
		jobs, err := i.db.Jobs(ctx, s, receiver, 0, jobsShown)
		if err != nil {
			return nil, false, err
		}
		cut = cut || len(jobs) == jobsShown
		for _, j := range jobs {
			r := i.jobRow(j)
			if s == due.Due {
				if _, known := paused[j.Lane]; !known {
					until, _, err := i.db.Pause(ctx, j.Lane)
					if err != nil {
						return nil, false, err
					}
					paused[j.Lane] = nil
					if until.After(i.app.now()) {
						until = until.In(i.zone)
						paused[j.Lane] = &until
					}
				}
				r.Paused = paused[j.Lane]
			}
			rows = append(rows, r)
		}
	}
	return rows, cut, nil
}

// jobsRunReport is what jobs run answers.
type jobsRunReport struct {
	Done    int      `json:"done"`
	Again   int      `json:"again"`   // failed or too early; they are tried again
	Dead    int      `json:"dead"`    // became dead letters now
	Waiting int      `json:"waiting"` // due later, or their receiver is away
	Letters int      `json:"deadLetters"`
	Failed  []jobRow `json:"failed,omitempty"`
}

func (a *app) jobsRun() *cobra.Command {
	var receiver string
	c := &cobra.Command{
		Use:   "run [--receiver ORG]",
		Short: "办理 · do what is due now, all receivers at once, and say what did not go",
		Long: `Run is for installations without a process that runs on: call it from time to time. It first brings the ledger up, so
that receipts can be made, then delivers and publishes what is due now. It does not wait for what is due later.

Exit codes: 0 nothing failed, 3 something failed or is not ready yet and is tried again later, or became a dead letter.`,
		Example: "  elicence jobs run\n  elicence jobs run --receiver 12310000DEMP000012",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := perform(cmd.Context(), a, runningJobs(), jobsRun{receiver})
			if err != nil {
				return err
			}
			err = a.tell(report, func(w io.Writer) {
				for _, r := range report.Failed {
					r.print(a.stderr)
				}
				fmt.Fprintf(w, "已办 done %d  再试 again %d  退信 dead %d  尚待 waiting %d\n", report.Done, report.Again, report.Dead, report.Waiting)
				if report.Letters > 0 {
					fmt.Fprintf(w, "共有退信 %d 件：查看 elicence jobs list --state dead，重发 elicence jobs retry / %d dead letters: see them, then send them again\n", report.Letters, report.Letters)
				}
			})
			if err == nil && report.Again+report.Dead > 0 {
				return answer(exitBatch)
			}
			return err
		},
	}
	c.Flags().StringVar(&receiver, "receiver", "", "only this receiver, or this upkeep")
	return c
}

// jobsRun asks for what is due now; of one receiver or upkeep, or of all.
type jobsRun struct {
	Receiver string `json:"receiver"`
}

func runningJobs() operation[jobsRun, jobsRunReport] {
	return operation[jobsRun, jobsRunReport]{"run-jobs", func(ctx context.Context, i *installation, q jobsRun) (jobsRunReport, error) {
		return i.runJobs(ctx, q.Receiver)
	}}
}

// runJobs drains the lanes, or one.
func (i *installation) runJobs(ctx context.Context, only string) (jobsRunReport, error) {
	var report jobsRunReport
	lanes := append(i.deliveryLanes(ctx), i.upkeepLanes(i.upkeeps())...)
	if only != "" {
		lanes = slices.DeleteFunc(lanes, func(l due.Lane) bool { return l.Name != only })
		if len(lanes) == 0 {
			return report, usage("--receiver %s: neither a receiver of deliver.receivers in %s nor an upkeep", only, configFile)
		}
	}
	if err := i.armUpkeep(ctx); err != nil {
		return report, err
	}
	i.follow(ctx)
	bar := i.app.progress(-1, "办理 jobs")
	var mu sync.Mutex
	r, err := i.runner(lanes, func(j due.Job, s due.Settlement, failed error) {
		mu.Lock()
		defer mu.Unlock()
		_ = bar.Add(1)
		if failed == nil {
			return
		}
		j.State, j.Failure, j.FailedAt = s.State, s.Failure, s.At
		if s.State == due.Due {
			j.Due = s.Due
		}
		report.Failed = append(report.Failed, i.jobRow(j))
		if s.Failure.Code == due.CodeInternal || s.Failure.Code == "configuration" {
			i.notice(ctx, "elicence: %d: %v", j.ID, failed)
		}
	})
	if err != nil {
		return report, err
	}
	sum, err := r.Drain(ctx)
	_ = bar.Finish()
	if err != nil {
		return report, err
	}
	report.Done, report.Again, report.Dead = sum.Done, sum.Again, sum.Dead
	slices.SortFunc(report.Failed, func(a, b jobRow) int { return int(a.ID - b.ID) })
	counts, err := i.db.Waiting(ctx)
	if err != nil {
		return report, err
	}
	for lane, of := range counts {
		report.Letters += of[due.Dead]
		if i.config.Deliver.has(lane) {
			report.Waiting += of[due.Due] + of[due.Leased]
		}
	}
	return report, nil
}

// jobKeepers may send again, cancel and release.
func jobKeepers() []access.Role {
	return []access.Role{access.Clerk, access.SealKeeper, access.StockKeeper, access.Supervisor}
}

// jobsOf finds jobs by id and holds each to being the actor's own organisation's; a supervisor may touch all.
func (i *installation) jobsOf(ctx context.Context, by actor, args []string) ([]int64, error) {
	var ids []int64
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id <= 0 {
			return nil, usage("%s is no job: give the number in the first column of elicence jobs list", arg)
		}
		j, err := i.db.Job(ctx, id)
		if err != nil {
			return nil, err
		}
		if err := i.mayMove(ctx, by, j); err != nil {
			return nil, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (i *installation) mayMove(ctx context.Context, by actor, j due.Job) error {
	if j.Issuer != "" && j.Issuer == by.organisation.Code {
		return nil
	}
	if _, err := i.personWith(ctx, by.organisation.Code, by.person, access.Supervisor); err != nil {
		return fmt.Errorf("job %d is another organisation's: %w", j.ID, err)
	}
	return nil
}

// deadOf finds the dead letters of a receiver that the actor may move.
func (i *installation) deadOf(ctx context.Context, by actor, receiver string) ([]int64, error) {
	var ids []int64
	after := int64(0)
	for {
		page, err := i.db.Jobs(ctx, due.Dead, receiver, after, jobsShown)
		if err != nil || len(page) == 0 {
			return ids, err
		}
		for _, j := range page {
			after = j.ID
			switch err := i.mayMove(ctx, by, j); {
			case err == nil:
				ids = append(ids, j.ID)
			case !errors.Is(err, access.ErrRole):
				return nil, err
			}
		}
	}
}

// Verbs of a jobMove.
const (
	retryJobs   = "retry"
	cancelJobs  = "cancel"
	releaseJobs = "release"
)

// jobMove asks for jobs to be sent again, cancelled or released.
type jobMove struct {
	Verb     string   `json:"verb"`
	As       string   `json:"as"`
	IDs      []string `json:"ids,omitempty"`
	Receiver string   `json:"receiver,omitempty"` // all its dead letters
	Numbers  []string `json:"numbers,omitempty"`  // of licences whose paper was given
	Why      string   `json:"why,omitempty"`
}

// jobsMoved is how many jobs were moved.
type jobsMoved struct {
	Jobs int `json:"jobs"`
}

func movingJobs() operation[jobMove, jobsMoved] {
	return operation[jobMove, jobsMoved]{"move-jobs", func(ctx context.Context, i *installation, q jobMove) (jobsMoved, error) {
		by, err := i.actor(ctx, q.As, jobKeepers()...)
		if err != nil {
			return jobsMoved{}, err
		}
		count, err := i.moveJobs(ctx, by, q)
		if err == nil {
			i.deliverDue(ctx)
		}
		return jobsMoved{count}, err
	}}
}

func (i *installation) moveJobs(ctx context.Context, by actor, q jobMove) (int, error) {
	now := i.app.now()
	who := i.whoIs(ctx, by)
	who.At, who.Why = now, q.Why
	if q.Verb == releaseJobs {
		who.What = "paper-given"
		return i.releaseJobs(ctx, by, q.Numbers, who)
	}
	ids, err := i.jobsOf(ctx, by, q.IDs)
	if q.Receiver != "" {
		ids, err = i.deadOf(ctx, by, q.Receiver)
	}
	if err != nil {
		return 0, err
	}
	switch q.Verb {
	case retryJobs:
		who.What = "retry-delivery"
		return i.db.Retry(ctx, ids, now, who)
	case cancelJobs:
		who.What = "cancel-delivery"
		for _, id := range ids {
			// Upkeep that was cancelled would never come back, and one day every verdict would be indeterminate.
			if j, err := i.db.Job(ctx, id); err != nil || j.Licence == "" {
				return 0, errors.Join(err, fmt.Errorf("%w: job %d is upkeep, which is not cancelled", licence.ErrState, id))
			}
		}
		return i.db.Cancel(ctx, ids, now, who)
	}
	return 0, usage("%q is nothing that is done with jobs", q.Verb)
}

func (i *installation) releaseJobs(ctx context.Context, by actor, numbers []string, who audit.Entry) (count int, err error) {
	var ids []string
	for _, number := range numbers {
		l, err := i.db.ByNumber(ctx, number)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", number, err)
		}
		if l.Issuer != by.organisation.Code {
			return 0, fmt.Errorf("%w: licence %s is another organisation's: its issuer gives the paper", licence.ErrState, number)
		}
		ids = append(ids, l.ID)
	}
	for _, id := range ids {
		n, err := i.db.Release(ctx, id, who.At, who)
		if err != nil {
			return count, err
		}
		count += n
	}
	return count, nil
}

// moveJobs has jobs moved and says how many were.
func (a *app) moveJobs(ctx context.Context, q jobMove, text string) error {
	moved, err := perform(ctx, a, movingJobs(), q)
	if err != nil {
		return err
	}
	return a.tell(moved, func(w io.Writer) { fmt.Fprintf(w, "%s: %d\n", text, moved.Jobs) })
}

func (a *app) jobsRetry() *cobra.Command {
	var as, receiver, why string
	c := &cobra.Command{
		Use:   "retry ID…|--receiver ORG",
		Short: "重发 · send dead letters again, or what waits for its next attempt; with --receiver all its dead letters",
		Long: `Retry makes jobs due now, forgets their attempts and ends the pause of their receiver. A receiver knows a repeat by its
key, which stays the same: what it had already, it does not get twice.`,
		Example: `  elicence jobs retry 17 18 --as 12310101DEMH000016/clerk-1
  elicence jobs retry --receiver 12310000DEMP000012 --as 12310000DEMC00001M/supervisor-1 --why 'certificate renewed'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) == (receiver == "") {
				return usage("give either jobs, by the first column of elicence jobs list, or --receiver ORG")
			}
			return a.moveJobs(cmd.Context(), jobMove{Verb: retryJobs, As: as, IDs: args, Receiver: receiver, Why: why}, "重发 sent again")
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON who sends again")
	c.Flags().StringVar(&receiver, "receiver", "", "all dead letters of this receiver")
	c.Flags().StringVar(&why, "why", "", "what was done about the cause, for the audit trail")
	return c
}

func (a *app) jobsCancel() *cobra.Command {
	var as, reason string
	c := &cobra.Command{
		Use:     "cancel ID… --reason TEXT",
		Short:   "取消 · end jobs that must not be done any more; they never come back",
		Example: "  elicence jobs cancel 17 --reason 'handed over on paper' --as 12310101DEMH000016/clerk-1",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return usage("--reason TEXT is needed: it stands in the audit trail; no personal values in it")
			}
			return a.moveJobs(cmd.Context(), jobMove{Verb: cancelJobs, As: as, IDs: args, Why: reason}, "取消 cancelled")
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON who cancels")
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit trail")
	return c
}

func (a *app) jobsRelease() *cobra.Command {
	var as string
	c := &cobra.Command{
		Use:   "release NUMBER…",
		Short: "已领证 · the claimant has the paper: what waited for that becomes due (paper mode)",
		Long: `In paper mode a sheet is bound to a birth before it is issued, and nobody is told of the licence before the claimant has
the paper in hand. Release says that it was given, for each number; its deliveries are due from then on.`,
		Example: "  elicence jobs release X000000003 --as 12310101DEMH000016/clerk-1",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, numbers []string) error {
			return a.moveJobs(cmd.Context(), jobMove{Verb: releaseJobs, As: as, Numbers: numbers}, "放行 released")
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON of the issuer who gave the paper")
	return c
}
