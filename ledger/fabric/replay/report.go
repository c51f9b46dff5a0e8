package replay

import (
	"errors"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/export"
)

// Rules of the replay, beside those of packages export and fabric.
const (
	RuleManifest      = "manifest"
	RuleChannel       = "channel"
	RuleConfiguration = "configuration"
	RuleOrderers      = "orderer-signature"
	RuleLastConfig    = "last-configuration"
	RuleFlags         = "flags-missing"
	RuleMarkedValid   = "marked-valid"
	RuleMarkedInvalid = "marked-invalid"
	RuleCommitHash    = "commit-hash"
	RuleRegistry      = "registry"
	RuleNoCheckpoint  = "bad-checkpoint"
	RuleCheckpoint    = "checkpoint"
	RuleRolledBack    = "rolled-back"
	RulePeerState     = "peer-state"
	RuleLogEntry      = "log-entry"
	RuleLogHead       = "log-checkpoint"
	RuleLogState      = "log-state"
)

var texts = map[string][2]string{
	RuleManifest:         {"导出清单不完整或被改动", "the export's manifest is not whole or was altered"},
	export.RuleMissing:   {"导出缺少文件", "a file of the export is missing"},
	export.RuleTruncated: {"导出的文件被截断", "a file of the export ends too early"},
	export.RuleAltered:   {"导出的文件被改动", "a file of the export was altered"},
	export.RuleBlock:     {"不是区块", "it is no block"},
	export.RuleNumber:    {"区块次序不对", "another block stands where this one must be"},
	export.RulePrevious:  {"区块不接前一区块", "the block does not follow the one before"},
	export.RuleData:      {"区块的交易与区块头不符", "the block's transactions are not those of its header"},
	RuleChannel:          {"区块属于别的通道", "the block is of another channel"},
	RuleConfiguration:    {"通道配置读不出或不衔接", "the channel's configuration cannot be read or does not follow the one before"},
	RuleOrderers:         {"排序节点的签名不满足通道配置", "the orderers' signatures do not satisfy the channel's configuration"},
	RuleLastConfig:       {"区块所说的最近一次配置不对", "the block names another configuration as the last one"},
	RuleFlags:            {"区块没有逐笔交易的有效标记", "the block has not one validity flag for each transaction"},
	RuleMarkedValid:      {"交易标为有效，其实不能有效", "the transaction is marked valid and cannot be"},
	RuleMarkedInvalid:    {"交易标为无效，却找不到原因", "the transaction is marked invalid and nothing is wrong with it"},
	RuleCommitHash:       {"提交散列与有效标记和写入不符", "the commit hash is not that of the flags and of what was written"},
	fabric.RuleThrough:   {"别的链码写了账本的状态", "another chaincode writes the ledger's state"},
	fabric.RuleForeign:   {"不提交事件的函数写了合约的状态", "a function that takes no events writes the contract's state"},
	fabric.RuleAnswer:    {"背书的答复不成立", "the endorsed answer cannot stand"},
	fabric.RuleVerdict:   {"背书的裁决与合约不同", "the endorsed verdict is not the contract's"},
	fabric.RuleState:     {"背书的写入与合约不同", "the endorsed writes are not the contract's"},
	RuleRegistry:         {"成员登记的变更与规则不符", "the change of the registry is not what the rules make of the proposal"},
	RuleNoCheckpoint:     {"不是本账本的检查点", "it is no checkpoint of this log"},
	RuleCheckpoint:       {"链上事件算出的日志与已签署的检查点不同", "the log that the chain gives is not that of a signed checkpoint"},
	RuleRolledBack:       {"已签署的检查点比链上的日志长", "a signed checkpoint has more entries than the chain gives"},
	RulePeerState:        {"节点的状态与链不符", "the peer's state is not what the chain gives"},
	RuleLogEntry:         {"本地日志的条目与链不符", "the local log's entry is not what the chain gives"},
	RuleLogHead:          {"本地日志的检查点与链不符", "the local log's checkpoint is not what the chain gives"},
	RuleLogState:         {"本地记录中的合约状态与链不符", "the contract's state in the local records is not what the chain gives"},
}

// Difference is the first thing that does not fit.
type Difference struct {
	File        string  `json:"file,omitempty"`
	Since       *uint64 `json:"since,omitempty"` // if it may lie in any block from this one to Block
	Block       uint64  `json:"block"`
	Transaction string  `json:"transaction,omitempty"` // its id
	Position    *int    `json:"position,omitempty"`    // in the block
	Event       *int    `json:"event,omitempty"`       // in the transaction
	Hash        string  `json:"hash,omitempty"`        // of the event, SM3
	Index       *uint64 `json:"index,omitempty"`       // in the log
	Key         string  `json:"key,omitempty"`         // of the state
	Rule        string  `json:"rule"`
	ZH          string  `json:"zh"`
	EN          string  `json:"en"`
	Detail      string  `json:"detail,omitempty"`
}

// Report is what a replay found.
type Report struct {
	Channel   string `json:"channel"`
	Chaincode string `json:"chaincode"`
	// Genesis is the hash of block 0, which nobody has signed: who knows it from elsewhere compares it.
	Genesis string `json:"genesis"`
	// Head is the hash of the newest block, CommitHash the peer's chain of flags and writes up to there, "" if the peer keeps
	// none. Two peers of one channel have the same.
	Head           string                   `json:"head"`
	CommitHash     string                   `json:"commitHash,omitempty"`
	Blocks         uint64                   `json:"blocks"` // that fit, from block 0 on
	Configurations int                      `json:"configurations"`
	Transactions   uint64                   `json:"transactions"` // of the ledger's chaincode
	Invalid        uint64                   `json:"invalid"`      // of those, marked invalid
	Entries        uint64                   `json:"entries"`
	Kinds          map[contract.Kind]uint64 `json:"kinds"`
	Root           string                   `json:"root"`        // of the log, hexadecimal
	Time           int64                    `json:"time"`        // of the latest event, microseconds
	Checkpoints    int                      `json:"checkpoints"` // signed ones that fit
	Unvouched      int                      `json:"unvouched"`   // checkpoints on the chain or in the export without any signature that the trust file knows: not compared
	Cosigned       uint64                   `json:"cosigned"`    // size of the largest one that enough trusted parties have cosigned
	State          int                      `json:"state"`       // keys of the ledger's state
	Compared       []string                 `json:"compared"`    // with what, beside itself
	Difference     *Difference              `json:"difference,omitempty"`
}

// Clean tells whether nothing was found.
func (r *Report) Clean() bool { return r.Difference == nil }

// errDifferent says that the report has a Difference.
var errDifferent = errors.New("replay: a difference")

func (a *Auditor) differs(d Difference) error {
	if a.report.Difference == nil {
		t := texts[d.Rule]
		d.ZH, d.EN = t[0], t[1]
		a.report.Difference = &d
	}
	return errDifferent
}
