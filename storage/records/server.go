package records

import (
	"context"
	"strings"
)

// ServerFault is something about a database server that would lose what was answered, or keep an installation from working.
type ServerFault struct {
	ZH, EN string
	Do     string // what to do about it, in both languages
}

// CheckServer looks at the server behind a PostgreSQL address: whether it answers and takes writes, whether its commits are
// durable, and whether a standby that may take over has everything that was answered. It changes nothing. The error is that
// of reaching it, as of OpenPostgres.
func CheckServer(ctx context.Context, url string) ([]ServerFault, error) {
	p, err := connectPostgres(ctx, url)
	if err != nil {
		return nil, err
	}
	defer p.close()
	var version, fsync, pages, commit, names, recovering string
	var standbys int
	err = p.db.QueryRowContext(ctx, `SELECT current_setting('server_version_num'), current_setting('fsync'), current_setting('full_page_writes'),
		current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), pg_is_in_recovery()::text,
		(SELECT COUNT(*) FROM pg_stat_replication)`).Scan(&version, &fsync, &pages, &commit, &names, &recovering, &standbys)
	if err != nil {
		return nil, say("ask the server", err)
	}
	var found []ServerFault
	if len(version) < 6 || version < "150000" {
		found = append(found, ServerFault{"PostgreSQL 版本低于 15", "the server is older than PostgreSQL 15", "升级服务器 · upgrade the server"})
	}
	if recovering == "true" {
		found = append(found, ServerFault{"数据库是备机，不接受写入", "the server is a standby and takes no writes", "改用主机，或在地址中写明两台 · name the primary, or both with target_session_attrs=read-write"})
	}
	if fsync != "on" || pages != "on" {
		found = append(found, ServerFault{"fsync 或 full_page_writes 已关闭，断电会丢失已签发的证照", "fsync or full_page_writes is off: a power failure loses what was issued", "两项均设为 on · set both to on"})
	}
	if commit == "off" || commit == "local" {
		found = append(found, ServerFault{"synchronous_commit 为 " + commit, "synchronous_commit is " + commit + ": what is answered may be lost", "设为 on · set it to on, and do not override it in the address"})
	}
	// A second server in the address, or one that follows now, is one that may take over.
	if several := strings.Contains(hostsOf(p), ","); (several || standbys > 0) && names == "" {
		found = append(found, ServerFault{"备机不是同步的：接管后会缺少已答复的证照", "the standby is not synchronous: after it takes over, licences that were answered are missing",
			"设置 synchronous_standby_names · set synchronous_standby_names on the primary"})
	}
	return found, nil
}

// hostsOf are the servers that an address names, separated by commas.
func hostsOf(p *postgresServer) string {
	c := p.pool.Config().ConnConfig
	hosts := []string{c.Host}
	for _, f := range c.Fallbacks {
		if f.Host != hosts[len(hosts)-1] {
			hosts = append(hosts, f.Host)
		}
	}
	return strings.Join(hosts, ",")
}
