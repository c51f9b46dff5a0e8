package main

import (
	"context"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
)

// yearTables counts every issuer's sheets of one licence type, or one issuer's, and the sum over all in the last row.
func (i *installation) yearTables(ctx context.Context, typ string, year int, issuer string) ([]yearRow, error) {
	organisations, err := i.db.Organisations(ctx)
	if err != nil {
		return nil, err
	}
	var rows []yearRow
	sum := licence.YearTable{Type: typ, Year: year}
	for _, o := range organisations {
		if (o.Kind != licence.Hospital && o.Kind != licence.Agency) || (issuer != "" && o.Code != issuer) {
			continue
		}
		t, err := i.db.YearTable(ctx, issuing.Pile{Issuer: o.Code, Type: typ}, year, i.zone)
		if err != nil {
			return nil, err
		}
		sum = sum.Add(t)
		rows = append(rows, rowOf(o.Name, t))
	}
	if issuer == "" {
		rows = append(rows, rowOf("合计 total", sum))
	}
	return rows, nil
}

func rowOf(name string, t licence.YearTable) yearRow {
	r := yearRow{Name: name, Table: t, Balanced: true, Warnings: t.Warnings()}
	if err := t.Balance(); err != nil {
		r.Balanced, r.Problem = false, err.Error()
	}
	return r
}

// First, Exchange and Replacement are inside and outside institutions together, for the tour.
func (r yearRow) First() int { return r.Table.Inside.First + r.Table.Outside.First }

// Exchange counts exchanges.
func (r yearRow) Exchange() int { return r.Table.Inside.Exchange + r.Table.Outside.Exchange }

// Replacement counts replacements.
func (r yearRow) Replacement() int { return r.Table.Inside.Replacement + r.Table.Outside.Replacement }
