package sandbox

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
)

// Price is a price with its own product, which has the price's name.
type Price struct {
	ID, Name, Description, Currency string
	Amount                          int64 // minor units
	Active, Recurring               bool
	Archived                        bool // the product is archived
	Metadata                        map[string]string
	CurrencyOptions                 map[string]int64 // amounts in other currencies, minor units
}

type price struct {
	Price
	product string
	created int64 // unix seconds
}

// Link is a Payment Link. DeviceUID is its metadata's device_uid, PriceID the price of its first
// line item, and ReturnURL the redirect of after_completion.
type Link struct {
	ID, URL, DeviceUID, PriceID, ReturnURL, CaptureMethod string
	Active, PromotionCodes                                bool
	Metadata, IntentMetadata                              map[string]string
}

type link struct {
	Link
	items            []item
	currency         string
	description      string // of the PaymentIntents
	suffix           string // of the statement descriptor
	methods          []string
	inactiveMessage  string
	submitType       string
	completion, text object // after_completion and custom_text, as given
	limit, completed int64  // restrictions[completed_sessions]; limit 0: none
}

// item is a line item: a price and its quantity.
type item struct {
	id, price string
	quantity  int64
}

// AddPrice adds a price with its product. It can be sold only if Active is set. An empty ID is
// generated, and an empty currency is "usd".
func (s *Stripe) AddPrice(p Price) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.ID == "" {
		p.ID = timedID("price_1", s.Now())
	}
	if p.Currency == "" {
		p.Currency = "usd"
	}
	p.Metadata = maps.Clone(p.Metadata)
	s.prices.put(p.ID, &price{Price: p, product: "prod_" + randomText(14), created: s.Now().Unix()})
}

// SetPrice changes a price and its product, as in the Dashboard, and sends the events of the
// change. It does nothing if the price does not exist.
func (s *Stripe) SetPrice(id string, change func(*Price)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.prices.get(id)
	if p == nil {
		return
	}
	before := p.Price
	change(&p.Price)
	if before.Name != p.Name || before.Description != p.Description || before.Archived != p.Archived {
		s.emit(send{"product.updated", p.product, s.productObject(p), true})
	}
	if before.Active != p.Active || !maps.Equal(before.Metadata, p.Metadata) {
		s.emit(send{"price.updated", p.ID, s.priceObject(p, nil), true})
	}
}

// SetLink changes a link, as in the Dashboard, and sends the event of the change. The limit is the
// number of payments that the link accepts in all, and 0 means no limit. It does nothing if the
// link does not exist.
func (s *Stripe) SetLink(id string, active bool, limit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.links.get(id); l != nil {
		l.Active, l.limit = active, limit
		s.emit(send{"payment_link.updated", l.ID, s.linkObject(l, nil), true})
	}
}

// Links returns all links, oldest first.
func (s *Stripe) Links() []Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	links := make([]Link, 0, len(s.links.order))
	for _, l := range s.links.order {
		links = append(links, s.linkView(l))
	}
	return links
}

// AddLink adds a link as if it were made by hand or by an earlier installation. It generates an
// empty ID, and puts DeviceUID into the metadata unless the metadata has a device_uid. It panics if
// the price does not exist.
func (s *Stripe) AddLink(given Link) Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.prices.get(given.PriceID)
	if p == nil {
		panic("sandbox: AddLink before AddPrice of " + given.PriceID)
	}
	given.Metadata, given.IntentMetadata = cloned(given.Metadata), cloned(given.IntentMetadata)
	if given.DeviceUID != "" && given.Metadata["device_uid"] == "" {
		given.Metadata["device_uid"] = given.DeviceUID
	}
	l := &link{
		Link:     given,
		currency: p.Currency,
		items:    []item{{id: timedID("li_1", s.Now()), price: p.ID, quantity: 1}},
	}
	if given.ReturnURL != "" {
		l.completion = object{"type": "redirect", "redirect": object{"url": given.ReturnURL}}
	}
	s.putLink(l)
	return s.linkView(l)
}

func (s *Stripe) putLink(l *link) {
	if l.ID == "" {
		l.ID = timedID("plink_1", s.Now())
	}
	if l.CaptureMethod == "" {
		l.CaptureMethod = "automatic_async"
	}
	if l.submitType == "" {
		l.submitType = "auto"
	}
	if l.completion == nil {
		l.completion = object{"type": "hosted_confirmation", "hosted_confirmation": object{"custom_message": nil}}
	}
	s.links.put(l.ID, l)
}

func (s *Stripe) linkView(l *link) Link {
	view := l.Link
	view.URL, view.DeviceUID, view.PriceID = s.base+"/c/"+l.ID, l.Metadata["device_uid"], l.items[0].price
	view.Metadata, view.IntentMetadata = maps.Clone(l.Metadata), maps.Clone(l.IntentMetadata)
	return view
}

func cloned(m map[string]string) map[string]string {
	if m == nil {
		return make(map[string]string)
	}
	return maps.Clone(m)
}

const itemParams = " line_items[#][price] line_items[#][quantity]"

const linkParams = " metadata metadata[*] after_completion[type] after_completion[redirect][url]" +
	" after_completion[hosted_confirmation][custom_message] payment_intent_data[metadata]" +
	" payment_intent_data[metadata][*] payment_intent_data[description]" +
	" payment_intent_data[statement_descriptor_suffix] payment_method_types[#]" +
	" restrictions[completed_sessions][limit] inactive_message custom_text[**] submit_type allow_promotion_codes" +
	" phone_number_collection[enabled] billing_address_collection customer_creation"

func (s *Stripe) linkOperations() []operation {
	return []operation{
		{"POST", "/v1/payment_links", "currency payment_intent_data[capture_method]" + itemParams + linkParams,
			"line_items", s.createLink},
		{"GET", "/v1/payment_links", "active" + pageParams, "data.line_items", s.listLinks},
		{"GET", "/v1/payment_links/{id}", "", "line_items", s.retrieveLink},
		{"POST", "/v1/payment_links/{id}", "active line_items[#][id] line_items[#][quantity]" + linkParams,
			"line_items", s.updateLink},
		{"GET", "/v1/payment_links/{id}/line_items", pageParams, "data.price.product", s.linkItems},
		{"GET", "/v1/prices", "active currency product type lookup_keys[#]" + createdParams + pageParams,
			"data.product", s.listPrices},
		{"GET", "/v1/prices/{id}", "", "product currency_options", s.retrievePrice},
	}
}

func (s *Stripe) createLink(q *query) (any, *apiError) {
	items, currency, problem := s.lineItems(q)
	if problem != nil {
		return nil, problem
	}
	l := &link{items: items, currency: currency}
	l.Active = true
	l.CaptureMethod = q.oneOf("payment_intent_data[capture_method]", "automatic_async", "automatic", "manual")
	if problem := s.changeLink(q, l); problem != nil {
		return nil, problem
	}
	s.putLink(l)
	return s.linkObject(l, q.expand), nil
}

func (s *Stripe) updateLink(q *query) (any, *apiError) {
	l := s.links.get(q.id)
	if l == nil {
		return nil, missing("payment_link", q.id, "")
	}
	changed := *l
	changed.items = slices.Clone(l.items)
	changed.Active = q.flag("active", l.Active)
	if id := q.Get("line_items[0][id]"); id != "" {
		at := slices.IndexFunc(changed.items, func(i item) bool { return i.id == id })
		if at < 0 {
			return nil, missing("line_item", id, "line_items[0][id]")
		}
		changed.items[at].quantity = q.integer("line_items[0][quantity]", changed.items[at].quantity, 1, 999_999)
	}
	if problem := s.changeLink(q, &changed); problem != nil {
		return nil, problem
	}
	if s.config.Unknown.ClosedLinkEndsSessions && l.Active && !changed.Active {
		for _, x := range s.sessions.order {
			if x.PaymentLink == l.ID && x.Status == "open" {
				x.Status = "expired"
			}
		}
	}
	*l = changed
	s.emit(send{"payment_link.updated", l.ID, s.linkObject(l, nil), true})
	return s.linkObject(l, q.expand), nil
}

// changeLink sets the fields that create and update share.
func (s *Stripe) changeLink(q *query, l *link) *apiError {
	l.Metadata = q.metadata("metadata", l.Metadata)
	if q.tree("payment_intent_data")["metadata"] != nil || q.Has("payment_intent_data[metadata]") {
		l.IntentMetadata = q.metadata("payment_intent_data[metadata]", nil) // replaces all keys
	}
	if completion := q.tree("after_completion"); completion != nil {
		l.completion, l.ReturnURL = completion, q.address("after_completion[redirect][url]")
		kind := q.oneOf("after_completion[type]", "", "redirect", "hosted_confirmation")
		if kind == "" || (kind == "redirect") != (l.ReturnURL != "") {
			q.fail(malformed("after_completion",
				"after_completion needs a type, and with type redirect a redirect[url]."))
		}
	}
	set := func(name string, field *string) {
		if q.Has(name) {
			*field = q.Get(name)
		}
	}
	set("payment_intent_data[description]", &l.description)
	set("payment_intent_data[statement_descriptor_suffix]", &l.suffix)
	set("inactive_message", &l.inactiveMessage)
	l.PromotionCodes = q.flag("allow_promotion_codes", l.PromotionCodes)
	if q.Has("submit_type") {
		l.submitType = q.oneOf("submit_type", "auto", "book", "donate", "pay", "subscribe")
	}
	if text := q.tree("custom_text"); text != nil {
		l.text = text
	}
	if methods := q.list("payment_method_types"); methods != nil {
		l.methods = methods
		if !slices.Equal(methods, []string{"card"}) {
			q.fail(refused(http.StatusBadRequest, "", "payment_method_types",
				"The sandbox account has no other payment method than card."))
		}
	}
	l.limit = q.integer("restrictions[completed_sessions][limit]", l.limit, 1, math.MaxInt32)
	return q.problem
}

// lineItems reads line_items. The prices must exist, be active and share one currency, and the
// total must reach the minimum charge.
func (s *Stripe) lineItems(q *query) ([]item, string, *apiError) {
	given := q.tree("line_items")
	if len(given) == 0 {
		problem := malformed("line_items", "Missing required param: line_items.")
		problem.code = "parameter_missing"
		return nil, "", problem
	}
	if len(given) > 20 {
		return nil, "", malformed("line_items", "At most 20 line items, not %d.", len(given))
	}
	var items []item
	var currency string
	var total int64
	for _, i := range slices.Sorted(maps.Keys(given)) {
		name := fmt.Sprintf("line_items[%s][price]", i)
		p := s.prices.get(q.Get(name))
		switch {
		case q.Get(name) == "":
			return nil, "", malformed(name, "You must specify either `price` or `price_data` when creating a line "+
				"item; the sandbox knows only `price`.")
		case p == nil:
			return nil, "", missing("price", q.Get(name), name)
		case !p.Active:
			return nil, "", refused(http.StatusBadRequest, "", name,
				"The price specified is inactive. This field only accepts active prices.")
		case p.Archived:
			return nil, "", refused(http.StatusBadRequest, "", name, "The product of the price specified is inactive.")
		case p.Recurring:
			return nil, "", refused(http.StatusBadRequest, "", name,
				"You specified `payment` mode but passed a recurring price. The sandbox sells no subscriptions.")
		case currency != "" && currency != p.Currency:
			return nil, "", refused(http.StatusBadRequest, "", name, "All prices must have the same currency.")
		}
		quantityName := fmt.Sprintf("line_items[%s][quantity]", i)
		if !q.Has(quantityName) {
			return nil, "", malformed(quantityName, "Missing required param: %s.", quantityName)
		}
		quantity := q.integer(quantityName, 1, 1, 999_999)
		currency, total = p.Currency, total+p.Amount*quantity
		items = append(items, item{id: timedID("li_1", s.Now()), price: p.ID, quantity: quantity})
	}
	if minimum := minCharge(currency); total > 0 && total < minimum {
		return nil, "", refused(http.StatusBadRequest, "amount_too_small", "",
			"The total amount due must add up to at least %s.", money(minimum, currency))
	}
	return items, currency, q.problem
}

// minCharge returns the minimum amount of a charge, in minor units, by Stripe's table of 2026. It
// is 50 for currencies without an entry.
func minCharge(currency string) int64 {
	minimum := map[string]int64{
		"gbp": 30, "dkk": 250, "sek": 300, "nok": 300, "czk": 1500, "huf": 17500, "pln": 200, "ron": 200, "bgn": 100,
		"mxn": 1000, "hkd": 400, "thb": 1000, "myr": 200, "aed": 200,
	}
	if n, ok := minimum[currency]; ok {
		return n
	}
	return 50
}

// money formats an amount for people: "3.50 EUR", "500 JPY".
func money(amount int64, currency string) string {
	digits, unit := 2, int64(100)
	switch currency {
	case "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf":
		return fmt.Sprintf("%d %s", amount, strings.ToUpper(currency))
	case "bhd", "jod", "kwd", "omr", "tnd":
		digits, unit = 3, 1000
	}
	return fmt.Sprintf("%d.%0*d %s", amount/unit, digits, amount%unit, strings.ToUpper(currency))
}

func (s *Stripe) retrieveLink(q *query) (any, *apiError) {
	l := s.links.get(q.id)
	if l == nil {
		return nil, missing("payment_link", q.id, "")
	}
	return s.linkObject(l, q.expand), nil
}

func (s *Stripe) listLinks(q *query) (any, *apiError) {
	active := q.flag("active", true)
	wanted := func(l *link) bool { return !q.Has("active") || l.Active == active }
	return listPage(q, &s.links, "/v1/payment_links", wanted, s.linkObject)
}

func (s *Stripe) linkItems(q *query) (any, *apiError) {
	l := s.links.get(q.id)
	if l == nil {
		return nil, missing("payment_link", q.id, "")
	}
	inner, _ := q.expand.into("data")
	return s.itemList(l.items, "/v1/payment_links/"+l.ID+"/line_items", inner), nil
}

func (s *Stripe) itemList(items []item, path string, e expansion) object {
	data := make([]object, 0, len(items))
	inner, _ := e.into("price")
	for _, i := range items {
		p := s.prices.get(i.price)
		data = append(data, object{
			"id":              i.id,
			"object":          "item",
			"quantity":        i.quantity,
			"currency":        p.Currency,
			"description":     p.Name,
			"amount_subtotal": p.Amount * i.quantity,
			"amount_total":    p.Amount * i.quantity,
			"price":           s.priceObject(p, inner),
		})
	}
	return object{"object": "list", "url": path, "has_more": false, "data": data}
}

// linkObject renders a link. A link has no created field, and line_items only when expanded.
func (s *Stripe) linkObject(l *link, e expansion) object {
	var restrictions any
	if l.limit > 0 {
		restrictions = object{"completed_sessions": object{"count": l.completed, "limit": l.limit}}
	}
	rendered := object{
		"id":                         l.ID,
		"object":                     "payment_link",
		"active":                     l.Active,
		"url":                        s.base + "/c/" + l.ID,
		"livemode":                   s.config.Livemode,
		"metadata":                   l.Metadata,
		"currency":                   l.currency,
		"after_completion":           l.completion,
		"custom_text":                l.text,
		"inactive_message":           nullable(l.inactiveMessage),
		"submit_type":                l.submitType,
		"restrictions":               restrictions,
		"payment_method_types":       l.methods,
		"allow_promotion_codes":      l.PromotionCodes,
		"billing_address_collection": "auto",
		"payment_intent_data": object{
			"capture_method":              l.CaptureMethod,
			"description":                 nullable(l.description),
			"metadata":                    cloned(l.IntentMetadata),
			"statement_descriptor":        nil,
			"statement_descriptor_suffix": nullable(l.suffix),
		},
	}
	if inner, ok := e.into("line_items"); ok {
		rendered["line_items"] = s.itemList(l.items, "/v1/payment_links/"+l.ID+"/line_items", inner)
	}
	return rendered
}

func (s *Stripe) retrievePrice(q *query) (any, *apiError) {
	p := s.prices.get(q.id)
	if p == nil {
		return nil, missing("price", q.id, "")
	}
	return s.priceObject(p, q.expand), nil
}

func (s *Stripe) listPrices(q *query) (any, *apiError) {
	active, created := q.flag("active", true), q.createdWanted()
	wanted := func(p *price) bool {
		return (!q.Has("active") || p.Active == active) && (!q.Has("currency") || p.Currency == q.Get("currency")) &&
			(!q.Has("product") || p.product == q.Get("product")) && (!q.Has("type") || p.kind() == q.Get("type")) &&
			q.list("lookup_keys") == nil && created(p.created) // no price has a lookup key
	}
	return listPage(q, &s.prices, "/v1/prices", wanted, s.priceObject)
}

func (p *price) kind() string {
	if p.Recurring {
		return "recurring"
	}
	return "one_time"
}

func (s *Stripe) priceObject(p *price, e expansion) object {
	rendered := object{
		"id":                  p.ID,
		"object":              "price",
		"active":              p.Active,
		"billing_scheme":      "per_unit",
		"created":             p.created,
		"currency":            p.Currency,
		"livemode":            s.config.Livemode,
		"lookup_key":          nil,
		"metadata":            cloned(p.Metadata),
		"nickname":            nil,
		"product":             p.product,
		"recurring":           nil,
		"type":                p.kind(),
		"unit_amount":         p.Amount,
		"unit_amount_decimal": fmt.Sprint(p.Amount),
	}
	if p.Recurring {
		rendered["recurring"] = object{"interval": "month", "interval_count": 1, "usage_type": "licensed"}
	}
	if _, ok := e.into("product"); ok {
		rendered["product"] = s.productObject(p)
	}
	if _, ok := e.into("currency_options"); ok {
		options := object{p.Currency: currencyOption(p.Amount)}
		for currency, amount := range p.CurrencyOptions {
			options[currency] = currencyOption(amount)
		}
		rendered["currency_options"] = options
	}
	return rendered
}

func currencyOption(amount int64) object {
	return object{
		"custom_unit_amount":  nil,
		"tax_behavior":        "unspecified",
		"unit_amount":         amount,
		"unit_amount_decimal": fmt.Sprint(amount),
	}
}

func (s *Stripe) retrieveProduct(q *query) (any, *apiError) {
	for _, p := range s.prices.order {
		if p.product == q.id {
			return s.productObject(p), nil
		}
	}
	if made := s.products.get(q.id); made != nil {
		return made.object(s.config.Livemode), nil
	}
	return nil, missing("product", q.id, "")
}

func (s *Stripe) productObject(p *price) object {
	return object{
		"id":            p.product,
		"object":        "product",
		"active":        !p.Archived,
		"created":       p.created,
		"default_price": p.ID,
		"images":        []string{},
		"description":   nullable(p.Description),
		"livemode":      s.config.Livemode,
		"metadata":      object{},
		"name":          p.Name,
		"type":          "service",
	}
}
