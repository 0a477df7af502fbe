package keypool

import (
	"regexp"
	"slices"
	"strings"
)

// phrase is a way in which many providers say the same thing. The table is for providers and words that the table of sayings does not have.
type phrase struct {
	statuses []int          // HTTP statuses it is looked for in
	match    *regexp.Regexp // over the beginning of the message, in lower case
	says     string         // what it finds, for people
	class    Class
}

// A phrase that blames a key begins the message, and has no quotation marks before it: what a provider quotes is the client's.
const (
	opening   = `^(?:error: |unauthorized: |forbidden: |access denied[:,.] |permission denied[:,.] |sorry, )?`
	whose     = `(?:the |your |this |provided |specified |given |supplied |current )*`
	anAPIKey  = `(?:api[ -]?key|api token)`                                                                                       //nolint:gosec // words of providers, no credential
	aToken    = `(?:api[ -]?key|api token|access token|auth(?:entication|orization)? token|bearer token|credentials?|secret key)` //nolint:gosec // the same
	anOwner   = `(?:account|user account|organi[sz]ation)`
	between   = "[^.\"`']{0,60}?"
	isNow     = ` (?:is|are|was|has|have|has been|have been|appears to be) (?:(?:currently|now|already|temporarily|permanently|reported as|either|an?) )*`
	ended     = `(?:invalid|not valid|incorrect|wrong|expired|revoked|disabled|deactivated|inactive|not active|suspended|terminated|deleted|banned|blocked|locked|leaked|compromised|frozen|closed|denied access)` + over
	over      = `(?:$|[.,;:!()]| and\b| or\b| by\b| because\b| due\b| since\b| as\b| please\b| for (?:violat|abus|non))` // rather than "… for this model"
	badBefore = `(?:invalid|incorrect|wrong|expired|revoked|disabled|unknown)(?: or (?:invalid|expired|missing|revoked|disabled))* `
)

// phrases in the order in which they are looked for.
var phrases = []phrase{
	{
		[]int{400, 402, 403},
		regexp.MustCompile(opening + whose + `(?:` + anAPIKey + `|` + anOwner + `)` + between + isNow + ended),
		"this key, account or organisation is invalid, expired, revoked, disabled, suspended …", Credential,
	},
	{
		[]int{402, 403},
		regexp.MustCompile(opening + `(?:` + whose + aToken + `|your (?:project|workspace|team))` + between + isNow + ended + `|` + opening + `(?:your )?access (?:was |has been )?(?:terminated|revoked)` + over),
		"this token, or your project, workspace or team, is invalid, expired, suspended …", Credential,
	},
	{
		[]int{402, 403},
		regexp.MustCompile(opening + `(?:the |your |this )(?:` + anAPIKey + `|key) (?:may not|cannot|can not|can no longer|must not) be used` + over),
		"this key may not be used", Credential,
	},
	{
		[]int{400, 402, 403},
		regexp.MustCompile(opening + badBefore + anAPIKey + `\b|` + opening + whose + `(?:` + anAPIKey + `|` + anOwner + `) ` + ended + `|` + opening + anAPIKey + ` (?:not found)\b|` + opening + `no such api key\b`),
		"invalid, expired or unknown API key", Credential,
	},
	{
		[]int{402, 403},
		regexp.MustCompile(opening + badBefore + `(?:` + aToken + `|authentication)\b|` + opening + badBefore + `token` + over + `|` + opening + `authentication (?:fails|failed|error)\b`),
		"invalid token or credentials, authentication failed", Credential,
	},
	{
		[]int{403},
		regexp.MustCompile(opening + "(?:(?:you|your|this|the) [^\"`':.]{0,60}?)?" + `\b(?:insufficient|not enough|no|out of|run out of|used all(?: available)?|doesnt have any|does not have any|dont have (?:any|enough)|do not have (?:any|enough)|exhausted your) (?:[a-z]+ ){0,2}(?:credits?|balance|funds)\b`),
		"no credit, balance or funds", Quota,
	},
	{
		[]int{400, 403, 429},
		regexp.MustCompile(opening + `(?:you have )?(?:insufficient|not enough|no|out of|` + whose + anOwner + between + `\b(?:insufficient|not enough|no|out of|due to insufficient)) (?:[a-z]+ )?(?:credits?|balance|funds)\b`),
		"no credit, balance or funds", Quota,
	},
	{
		[]int{400, 403, 429},
		regexp.MustCompile(opening + "(?:(?:you|your|this|the) [^\"`':.]{0,60}?)?(?:monthly |daily )?" +
			`\b(?:(?:spending|spend|billing|budget|credit) limit (?:has been |was |is )?(?:reached|exceeded)|(?:reached|exceeded|hit) (?:its|your|the|their) (?:[a-z]+ ){0,2}(?:spending|spend|billing|budget|credit) limit)\b`),
		"a spending limit that is reached", Quota,
	},
	{
		[]int{400, 403, 429},
		regexp.MustCompile(opening + whose + `(?:(?:[a-z]+ )?(?:balance|credits?))` + isNow + `(?:too low|insufficient|exhausted|depleted|negative|overdue|past due|in arrears)|` + opening + whose + anOwner + between + `\b(?:overdue|past[- ]due|in arrears|unpaid)\b`),
		"a balance that is used up or owed", Quota,
	},
	{
		[]int{402},
		regexp.MustCompile(`\b(?:this request (?:requires|needs|costs) more|(?:this|the|your) request (?:would exceed|exceeds|costs more than)|can only afford [1-9]|(?:reduce|lower|fewer|decrease) (?:the |your )?max[ _](?:completion[ _]|output[ _])?tokens)\b`),
		"a request that is larger than the credit", CallerFault,
	},
	{
		[]int{403},
		regexp.MustCompile(`\b(?:safety|moderation|flagged|inappropriate|guidelines?|sensitive|prohibited|(?:content|usage) (?:policy|policies|filter\w*)|terms)\b`),
		"a check of the content, or terms", CallerFault,
	},
	{
		[]int{401},
		regexp.MustCompile(`\bip(?: address(?:es)?)?\b[^.\n]{0,60}\b(?:not|isnt|allow\w*|block\w*|restrict\w*|denied)\b|\b(?:allowlist|whitelist)\b`),
		"an address that may not ask", Region,
	},
	{
		[]int{403},
		regexp.MustCompile(`\bip(?: address(?:es)?)?\b|\b(?:allowlist|whitelist|firewall|vpc|vpn|proxy|virtual network|private endpoint|public access|network (?:access|rules?|acls?|policy|policies))\b`),
		"an address or network that may not ask", Region,
	},
	{
		[]int{403},
		regexp.MustCompile(`\b(?:country|countries|territory|territories|regions?|locations?|geographic\w*|jurisdiction|sanction\w*)\b`),
		"a country or region", Region,
	},
	{
		[]int{401, 403},
		regexp.MustCompile(`\bsession key\b|\b(?:missing|insufficient) (?:scopes?|permissions?)\b`),
		"a scope that this key lacks, or a session in a browser", CallerFault,
	},
	{
		[]int{403},
		regexp.MustCompile(`\b(?:access|permission|permitted|authori[sz]ed|allowed|verified|enabled|activated|entitled|eligible|valid|use|used|using|invoke|subscribed?)\b[^.\n]{0,80}\b(?:model|deployment)s?\b`),
		"may not use this model", ModelAccess,
	},
	{
		[]int{403},
		regexp.MustCompile(`\b(?:model|deployment)s?\b[^.\n]{0,120}\b(?:not|no|isnt|doesnt|without)\b[^.\n]{0,40}\b(?:access|accessible|permission|permitted|authori[sz]ed|allowed|enabled|activated|available|entitled|exist|found)\b`),
		"the model is not available to this key", ModelAccess,
	},
	{
		[]int{429},
		regexp.MustCompile(`\b(?:overloaded|at capacity|over capacity|out of capacity|no capacity|(?:not enough|insufficient|lack of|limited) (?:[a-z]+ )?capacity|capacity (?:is |has been )?(?:exceeded|exhausted|constraints?|reached)|without capacity|high (?:demand|load|traffic)|no (?:available )?(?:workers?|instances?|replicas?|gpus?)|(?:insufficient|not enough) resources|(?:server|engine|system|service) (?:is )?(?:currently |too )?busy|resources? (?:is |are )?(?:currently |temporarily )?unavailable|rate[- ]limited upstream|shared pool)\b`),
		"overload, no capacity, or a pool that all customers share", Transient,
	},
}

// maxHead bounds how far into a message phrases are looked for, in bytes.
const maxHead = 512

// plainer folds what is written in more than one way.
var plainer = strings.NewReplacer("n't", "nt", "n’t", "nt", "\r", " ", "\n", " ", "\t", " ")

// headOf is the beginning of a message as the tables have it: in lower case, and without the apostrophe of "n't".
func headOf(message string) string {
	if message == "" {
		return ""
	}
	return strings.ToLower(plainer.Replace(strings.TrimSpace(message[:min(len(message), maxHead)])))
}

// classOfPhrase is what the words of a message mean, None when they mean nothing here. With a class other than None, only that one is looked for.
func classOfPhrase(status int, head string, only Class) Class {
	if head == "" {
		return None
	}
	for _, p := range phrases {
		if (only == None || p.class == only) && slices.Contains(p.statuses, status) && p.match.MatchString(head) {
			return p.class
		}
	}
	return None
}

// forms are those of error codes, in lower case and without what stands between their words.
var forms = []struct {
	match *regexp.Regexp
	says  string
	class Class
}{
	{regexp.MustCompile(`^model|model$|^deploymentnot`), "model_…, …_model", ModelAccess},
	{regexp.MustCompile(`^mismatched|^moderation|^contentfilter|contentpolicy|safety`), "mismatched_…, moderation_…, content_filter", CallerFault},
	{regexp.MustCompile(`region|country|ipaddress|^ip(?:not|blocked)`), "…region…, …country…, ip_not_…", Region},
	{regexp.MustCompile(`^(?:insufficient|no|notenough|outof)(?:account|user)?(?:quota|balance|credits?|funds)|arrear|overdue|^billing|(?:spend|spending|budget|credit)limit(?:reached|exceeded)$|^payment(?:required|overdue)`), "insufficient_balance, out_of_credit, …_spend_limit_reached, overdue …", Quota},
	{regexp.MustCompile(`^(?:error)?(?:invalid|incorrect|wrong|expired|revoked|disabled|leaked)(?:apikey|apitoken|accesstoken|credentials?|authentication)|^(?:apikey|account|organi[sz]ation)(?:is|hasbeen)?(?:invalid|incorrect|expired|revoked|disabled|deactivated|suspended|terminated|banned|blocked|locked|restricted|inactive|closed)|^authentication(?:error|failed|failure)?$`), "invalid_api_key, account_suspended, authentication_failed …", Credential},
	{regexp.MustCompile(`overload|^nocapacity|capacity(?:exceeded|exhausted)$|^resourceunavailable$|^(?:server|engine|service)busy$`), "…overloaded, no_capacity, resource_unavailable …", Transient},
	{regexp.MustCompile(`^ratelimit|^toomanyrequests|throttl|^limitrequests$|^requestlimit`), "rate_limit…, too_many_requests, throttl…", RateLimit},
}

var joiner = strings.NewReplacer("_", "", "-", "", ".", "", " ", "")

// classOfForm is what an error's word, in lower case, means by its form.
func classOfForm(w string) Class {
	w = joiner.Replace(w)
	for _, f := range forms {
		if f.match.MatchString(w) {
			return f.class
		}
	}
	return None
}
