package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/api"
	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/export"
	"github.com/elicence/elicence/ledger/fabric/replay"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/envelope"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/s3"
	"github.com/elicence/elicence/storage/records"
	"github.com/elicence/elicence/templates"
	"github.com/elicence/elicence/verify/trust"
)

// Exit codes of every command.
const (
	exitYes           = 0
	exitNo            = 1
	exitIndeterminate = 2
	exitBatch         = 3 // a batch with some or all lines refused
	exitUsage         = 64
	exitUnavailable   = 69
	exitInternal      = 70
)

// answer is an outcome that is not an error of the program: the command has said all there is to say.
type answer int

func (a answer) Error() string { return fmt.Sprintf("exit %d", int(a)) }

// failure says what went wrong, where, and what to do about it.
type failure struct {
	code  int
	cause error
	do    string
}

func (f *failure) Error() string { return f.cause.Error() }
func (f *failure) Unwrap() error { return f.cause }

func usage(format string, v ...any) error {
	return &failure{code: exitUsage, cause: fmt.Errorf(format, v...)}
}

// remedy is what a sentinel means for the person at the terminal. The error itself says in English what is wrong and
// where.
type remedy struct {
	of   []error
	code int
	what string // in Chinese; "" where the error says it
	do   string // Chinese · English; "" where the error says that, too
}

// remedies is the one table from sentinel to exit code and advice. The first row that fits counts: an error may wrap
// several sentinels, and what somebody can do about stands above what is merely a refusal.
func remedies() []remedy {
	return []remedy{
		{[]error{errRestored}, exitUnavailable, "",
			"先核对并修补：elicence reconcile --mend · reconcile first, which also mends what is safe: elicence reconcile --mend"},
		{[]error{errBackup}, exitNo, "", "换一份备份 · take another backup: each folder below snapshots/ is one"},
		{[]error{errRolledBack}, exitUnavailable, "记录比账本旧",
			"从对象库补齐：elicence reconcile --mend，或放回最新的记录备份 · bring them up to date from the objects: elicence reconcile --mend, or put back the newest copy of the records: see “Backup and restore” in docs/operations.md"},
		{[]error{issuing.ErrParked}, exitNo, "证照已搁置，等待人工处理",
			"先看 elicence list --stage parked，消除原因后 elicence resume · see it with: elicence list --stage parked; when what it failed of is cured: elicence resume NUMBER --as ORG/PERSON --why TEXT"},
		{[]error{records.ErrErased}, exitNo, "个人数据已销毁",
			"何时、因何：elicence show 编号；已交出的文件仍可核验 · when and why: elicence show NUMBER; files that were given out verify as before"},
		{[]error{licence.ErrConflict}, exitNo, "与已有的冲突", "查看已有的 · look at what stands with: elicence show BUSINESS-ID"},
		{[]error{licence.ErrStockEmpty}, exitNo, "空白证件已用完",
			"领入此类证照的编号 · allot numbers of this licence type with: elicence number allot --type TYPE"},
		{[]error{licence.ErrNotFound}, exitNo, "没有找到", "查看已有的证照 · see what there is with: elicence list"},
		{[]error{licence.ErrClock, embedded.ErrClock, ledger.ErrCosignerClock}, exitNo, "时钟不对",
			"校准本机时钟，再执行同一命令 · set the clock right, then the same command"},
		{[]error{licence.ErrSamePerson}, exitNo, "申请人与批准人不得为同一人", "请另一人批准 · have another person approve"},
		{[]error{access.ErrRole, access.ErrUnknownPerson}, exitNo, "此人不在册或无此职责",
			"以有此职责的人员执行 · act as a person who has the role: --as ORG/PERSON"},
		{[]error{access.ErrPassphrase}, exitNo, "口令不对", "给出此人自己的口令文件 · give the file with this person's own passphrase"},
		{[]error{issuing.ErrRefusedByContract}, exitNo, "保管规则不允许这一步", "查看保管经过 · see its custody with: elicence show NUMBER"},
		{[]error{issuing.ErrEvidence}, exitNo, "核验未通过，不予办理", ""},
		{[]error{licence.ErrRefused, licence.ErrState, licence.ErrOtherDraft, licence.ErrSpoiled, templates.ErrTooLong}, exitNo, "不予办理", ""},
		{[]error{softkey.ErrNoKey, softkey.ErrState}, exitNo, "没有可用的密钥", "查看密钥 · see the keys with: elicence key list"},
		{[]error{ledger.ErrRollback, ledger.ErrFork}, exitNo, "账本与共签方所签不符",
			"放回最新备份，查明何人改动；用 elicence ledger audit 比对 · the records are not those that the cosigners have signed for: put back the newest backup, and find out who changed them; compare with: elicence ledger audit"},
		{[]error{trust.ErrPin, trust.ErrFormat, trust.ErrSignature}, exitNo, "信任名录不可信",
			"从备份放回 publish/trust.json，查明何人改动 · publish/trust.json is not what this installation's operator signed: put it back from its backup, and find out who changed it"},
		{[]error{errRevokedAlready}, exitNo, "该证书早已撤销", "查看证书 · see them with: elicence ca show"},
		{[]error{errNoCertificate}, exitNo, "没有这张证书", "查看证书 · see them with: elicence ca show"},
		{[]error{embedded.ErrNotPublished}, exitNo, "尚未入账共签", "请共签方共签 · have the newest checkpoint cosigned with: elicence ledger cosign"},
		{[]error{issuing.ErrStale, issuing.ErrFenced}, exitUnavailable, "他人刚刚办理了这一份",
			"再查看一次，然后重新执行 · somebody else moved it meanwhile: look again, then repeat the command"},
		{[]error{errMoved}, exitUnavailable, "",
			"停止服务，放回目录，再启动 · stop the service, put the folder back, start it again"},
		{[]error{api.ErrServed}, exitUnavailable, "",
			"停止那个服务，或等它结束 · stop that service, or wait until it has ended"},
		{[]error{api.ErrStopping, api.ErrBusy}, exitUnavailable, "",
			"稍候再执行同一命令，即从中断处继续 · wait a little, then the same command: it goes on where it stopped"},
		{[]error{api.ErrGone}, exitUnavailable, "",
			"服务恢复后先查看，再执行同一命令；已办的不会重办 · when the service is back, look, then the same command: what was done is not done again"},
		{[]error{api.ErrUnknownOperation, api.ErrMalformed}, exitUnavailable, "",
			"用与服务同一版本的程序 · use the program version that the service runs"},
		{[]error{api.ErrInternal}, exitInternal, "", "查看服务日志 · see the log of the service"},
		{[]error{records.ErrLocked}, exitUnavailable, "", "等另一进程结束 · another elicence process writes in this folder: wait for it to end"},
		{[]error{softkey.ErrFault}, exitUnavailable, "签名自检不通过", "检查本机的处理器与内存，或换一台机器 · have processor and memory of this machine checked, or use another one"},
		{[]error{softkey.ErrPassphrase}, exitUnavailable, "密钥库口令不对",
			"用 --passphrase-file 或 $ELICENCE_PASSPHRASE 给出正确口令 · give the right passphrase with --passphrase-file or $ELICENCE_PASSPHRASE"},
		{[]error{softkey.ErrKeystore, issuing.ErrKey}, exitUnavailable, "密钥库打不开",
			"从备份放回该机构的密钥库；没有它不能签名，但未消耗任何编号 · put the organisation's keystore file back from its backup; without it nothing can be signed, and nothing was consumed"},
		{[]error{s3.ErrConfig}, exitUsage, "对象存储设置有误", "见 docs/operations.md · see “An object store” in docs/operations.md"},
		{[]error{records.ErrURL}, exitUsage, "数据库地址不能用", "形如 postgres://主机/库；口令放在 $PGPASSWORD 或 $PGPASSFILE · it is like postgres://HOST/DB; a password goes into $PGPASSWORD or $PGPASSFILE"},
		{[]error{issuing.ErrHeld, issuing.ErrLapsed}, exitUnavailable, "此项职责在另一进程手中", "稍后再执行同一命令 · another process has this duty now: the same command again in a while"},
		{[]error{objects.ErrUnfit}, exitUnavailable, "对象存储不符合要求", "查看缺什么 · see what is missing with: elicence storage check"},
		{[]error{objects.ErrAccess, s3.ErrCredentials}, exitUnavailable, "对象存储拒绝此凭据，或没有凭据",
			"核对凭据及其权限，见 docs/operations.md · look at the credentials and what they may do: “An object store” in docs/operations.md"},
		{[]error{objects.ErrUntrusted}, exitUnavailable, "对象存储的身份无法确认",
			"核对 endpoint，或用 caFile 指明签发其证书的机构 · look at endpoint, or name the authority of its certificate in caFile"},
		{[]error{objects.ErrUnavailable}, exitUnavailable, "对象存储没有应答",
			"存储恢复后再执行同一命令，即从中断处继续 · when the store answers again, repeat the command: it goes on where it stopped"},
		{[]error{records.ErrSealed, objects.ErrDamaged, embedded.ErrDamaged, envelope.ErrOpen}, exitUnavailable, "数据目录损坏或混入了别处的文件",
			"从备份整体放回 · the folder is damaged or mixed with another one: put it back whole from its backup"},
		{[]error{objects.ErrExists}, exitUnavailable, "记录与对象库不是同一套",
			"核对：elicence reconcile · records and objects do not belong together: see what differs with: elicence reconcile"},
		{[]error{fabric.ErrDiverged, fabric.ErrBlock}, exitUnavailable, "区块链与规则不符",
			"停下查明：本方节点、链码版本或本地记录有一处不对；导出并审计 elicence ledger audit · stop and find out which it is: the own peer, a chaincode of another version, or the records here: elicence ledger audit"},
		{[]error{fabric.ErrExpired}, exitUnavailable, "区块链的一张传输证书已过期",
			"由该成员换发，放在同一文件，再重启服务；签发不受影响，账本随后自动补上，见 docs/operations.md · that member renews it in the same file, then the service is started again: “The ledger on Hyperledger Fabric” in docs/operations.md; issuing goes on meanwhile, and the ledger catches up by itself"},
		{[]error{fabric.ErrUnreachable}, exitUnavailable, "本方区块链节点没有应答",
			"节点恢复后自动补上；签发不受影响 · it catches up by itself when the peer is back; issuing goes on meanwhile"},
		{[]error{fabric.ErrNotEndorsed, fabric.ErrUnknownOutcome, fabric.ErrInvalidated}, exitUnavailable, "区块链没有接受这一批",
			"各方节点与链码都须在运行；恢复后自动补上，不会重复 · all members' peers and chaincodes must run; it catches up by itself, and nothing is done twice"},
		{[]error{embedded.ErrNotYet}, exitUnavailable, "账本尚未到这一条", "等待跟随 · wait until it has followed: elicence ledger follow --once"},
		{[]error{export.ErrFolder}, exitNo, "目录不是这一导出的", "另给一个目录 · give another folder with --out"},
		{[]error{export.ErrAnotherChain}, exitNo, "节点的链不接已导出的区块",
			"查明节点为何换了链；已导出的保持不变 · find out why the peer has another chain; what was exported stays as it is: elicence ledger audit --export FOLDER"},
		{[]error{replay.ErrKnown}, exitNo, "给出的不是本账本的检查点", "给出检查点或回执，以及签署者在其中的信任名录 · give a signed checkpoint or a receipt, and the trust file that names who signed it"},
		{[]error{replay.ErrNoState}, exitUnavailable, "本方链码版本过旧，无法核对状态", "换上同一版本的 elicence-chaincode · run elicence-chaincode of this version beside the own peer"},
		{[]error{replay.ErrOrdering}, exitIndeterminate, "无法核对这种排序服务的签名", "用更新的程序 · use a newer program version"},
		{[]error{errNotOnFabric}, exitNo, "", "新建时 elicence init --fabric 文件 · a new installation is put on one with: elicence init --fabric FILE"},
		{[]error{records.ErrServerFull}, exitUnavailable, "暂不可用",
			"在数据库服务器上腾出空间或连接，再执行同一命令，即从中断处继续 · make room on the database server, then repeat the command: it goes on where it stopped"},
		{[]error{records.ErrServerDisk}, exitUnavailable, "暂不可用",
			"检查数据库服务器的磁盘及其日志，再执行同一命令 · see to the disk of the database server and to its log, then repeat the command: it goes on where it stopped"},
		{[]error{records.ErrServerAway}, exitUnavailable, "暂不可用",
			"检查数据库服务器及网络，磁盘是否已满；恢复后再执行同一命令，即从中断处继续 · see whether the database server runs, has room on its disk and can be reached; then repeat the command: it goes on where it stopped"},
		{[]error{records.ErrNoWayBack}, exitNo, "", "查看版本 · see the versions with: elicence database version"},
		{[]error{records.ErrInUse}, exitUnavailable, "", "停止所有服务和命令，再执行 · stop all services and commands, then the same command"},
		{[]error{records.ErrVersion}, exitUnavailable, "数据表版本与程序不符",
			"用相应版本的程序，或先执行一条写入命令以升级 · use the program version that these records belong to, or run a writing command with this one, which brings older records forward"},
		{[]error{licence.ErrUnavailable, objects.ErrFull, objects.ErrReadOnly, syscall.ENOSPC, syscall.EROFS, os.ErrPermission}, exitUnavailable, "暂不可用",
			"使目录可写并腾出空间，再执行同一命令，即从中断处继续 · make the folder writable and free some space, then repeat the command: it goes on where it stopped"},
		{[]error{os.ErrNotExist}, exitUnavailable, "文件或目录不存在", ""},
		{[]error{context.Canceled, context.DeadlineExceeded}, exitUnavailable, "已中断", "再执行同一命令，即从中断处继续 · interrupted: repeat the command, it goes on where it stopped"},
	}
}

// classify finds the remedy of an error; one that the table does not have is a fault of this program.
func classify(err error) remedy {
	var f *failure
	if errors.As(err, &f) {
		r := classify(f.cause)
		if r.code == exitInternal {
			r.what = "" // a cause that the table does not have: the failure itself says what it is
		}
		r.code = f.code
		if f.do != "" {
			r.do = f.do
		}
		return r
	}
	var glyph *templates.MissingGlyph
	if errors.As(err, &glyph) {
		return remedy{code: exitNo, what: "字库中没有这个字",
			do: "安装 Debian 软件包 " + glyph.Package + "，或在 elicence.yaml 的 fonts.dirs 中指明字体目录 · install the Debian package " +
				glyph.Package + ", or name a folder with the font in fonts.dirs of elicence.yaml"}
	}
	for _, r := range remedies() {
		if slices.ContainsFunc(r.of, func(sentinel error) bool { return errors.Is(err, sentinel) }) {
			return r
		}
	}
	return remedy{code: exitInternal, what: "程序内部错误"}
}

// exit prints the error, if any, and returns the process's exit code.
func (a *app) exit(err error) int {
	if err == nil {
		return exitYes
	}
	var said answer
	if errors.As(err, &said) {
		return int(said)
	}
	r := classify(err)
	if a.json {
		_ = json.NewEncoder(a.stderr).Encode(map[string]any{"error": err.Error(), "advice": r.do, "exit": r.code})
		return r.code
	}
	what := ""
	if r.what != "" {
		what = r.what + " · "
	}
	fmt.Fprintf(a.stderr, "elicence: %s%v\n", what, err)
	if r.do != "" {
		fmt.Fprintf(a.stderr, "  → %s\n", r.do)
	}
	return r.code
}
