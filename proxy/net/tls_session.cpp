#include "proxy/net/tls_session.hpp"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "proxy/base/ensure.hpp"

namespace outrigger::net {

/// OpenSSL's way to the descriptor.
struct TlsWire {
  static TlsSession& session_of(BIO* bio) noexcept { return *static_cast<TlsSession*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* into, int size) noexcept {
    TlsSession& session = session_of(bio);
    BIO_clear_retry_flags(bio);
    if (session.emptied_) {
      BIO_set_retry_read(bio);
      return -1;
    }
    long count = 0;
    do {
      count = ::syscall(SYS_recvfrom, session.descriptor_, into, static_cast<std::size_t>(size), 0, nullptr, nullptr);
    } while (count < 0 && errno == EINTR);
    if (count > 0) {
      // A short read has emptied the socket; only an end that is known is not announced anew.
      session.emptied_ = count < size && !session.ended_;
      return static_cast<int>(count);
    }
    if (count == 0) {
      session.eof_ = true;
      return 0;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      session.emptied_ = true;
      BIO_set_retry_read(bio);
    } else {
      session.error_ = errno;
    }
    return -1;
  }

  static int write(BIO* bio, const char* from, int size) noexcept {
    TlsSession& session = session_of(bio);
    BIO_clear_retry_flags(bio);
    const long count =
        ::syscall(SYS_sendto, session.descriptor_, from, static_cast<std::size_t>(size), MSG_NOSIGNAL, nullptr, 0);
    if (count >= 0) return static_cast<int>(count);
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
      BIO_set_retry_write(bio);
    } else {
      session.error_ = errno;
    }
    return -1;
  }

  static long control(BIO* bio, int command, long, void*) noexcept {
    if (command == BIO_CTRL_EOF) return session_of(bio).eof_ ? 1 : 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }

  static const BIO_METHOD* method() noexcept {
    static const BIO_METHOD* const made = [] {
      BIO_METHOD* const wire = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "outrigger");
      ENSURE(wire != nullptr);
      BIO_meth_set_read(wire, &read);
      BIO_meth_set_write(wire, &write);
      BIO_meth_set_ctrl(wire, &control);
      return wire;
    }();
    return made;
  }

  static int keep(SSL* ssl, SSL_SESSION* ticket) noexcept {
    const auto* const session = static_cast<TlsSession*>(SSL_get_app_data(ssl));
    if (session->ticket_ == nullptr) return 0;
    session->ticket_->keep(ticket);
    return 1;
  }
};

// ---- its beginning --------------------------------------------------------------------------

void TlsTicket::keep(ssl_session_st* session) noexcept { SSL_SESSION_free(std::exchange(session_, session)); }

void TlsSession::keep_tickets(ssl_ctx_st* context) noexcept {
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, &TlsWire::keep);
}

TlsSession::TlsSession(ssl_st* session) : ssl_(session) {
  ENSURE(ssl_ != nullptr);
  SSL_set_app_data(ssl_, this);
  // Whether an end that was not said is one is ours to judge: for OpenSSL nothing could be sent behind it.
  SSL_set_options(ssl_, SSL_OP_IGNORE_UNEXPECTED_EOF);
  BIO* const wire = BIO_new(TlsWire::method());
  ENSURE(wire != nullptr);
  BIO_set_data(wire, this);
  BIO_set_init(wire, 1);
  SSL_set_bio(ssl_, wire, wire);
}

TlsSession::TlsSession(const TlsContext& context) : TlsSession(SSL_new(context.handle())) {
  SSL_set_accept_state(ssl_);
}

TlsSession::TlsSession(const TlsContext& context, std::string_view name, TlsTicket& ticket)
    : TlsSession(SSL_new(context.handle())) {
  SSL_set_connect_state(ssl_);
  ticket_ = &ticket;
  offered_ = ticket.session();
  if (offered_ != nullptr) SSL_set_session(ssl_, ticket.session());
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty()) return;
  const std::string text(name);
  X509_VERIFY_PARAM* const wanted = SSL_get0_param(ssl_);
  if (X509_VERIFY_PARAM_set1_ip_asc(wanted, text.c_str()) == 1) return;
  X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  X509_VERIFY_PARAM_set1_host(wanted, text.data(), text.size());
  SSL_set_tlsext_host_name(ssl_, text.c_str());
}

TlsSession::~TlsSession() {
  // The server may be at odds with the ticket: kept, it would spoil every connection to come.
  if (!established_ && offered_ != nullptr && ticket_->session() == offered_) ticket_->keep(nullptr);
  // OpenSSL does not take a session up again that was not ended in good order; for us only a failure is a reason.
  if (established_ && !failed_) SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(ssl_);
  ERR_clear_error();
}

void TlsSession::announce(bool readable, bool ended) noexcept {
  ended_ |= ended;
  if (readable) emptied_ = false;
}

/// Why a call has not done what it was to do.
IoStatus TlsSession::stopped(int result) noexcept {
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_WRITE: waits_to_write_ = true; return IoStatus::again;
    case SSL_ERROR_WANT_READ: return IoStatus::again;
    case SSL_ERROR_ZERO_RETURN: return IoStatus::eof;
    default: fail(); return IoStatus::fault;
  }
}

void TlsSession::fail() noexcept {
  failed_ = true;
  if (!failure_.empty()) return;
  const unsigned long error = ERR_peek_error();
  const long verdict = SSL_get_verify_result(ssl_);
  if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    failure_ = std::string("certificate verify failed: ") + X509_verify_cert_error_string(verdict);
  } else if (error_ != 0 && error_ != EPIPE) {
    failure_ = std::strerror(error_);
  } else if (eof_ || error_ == EPIPE) {
    failure_ = established_ ? "closed without close_notify" : "closed during the handshake";
  } else {
    const char* const text = ERR_reason_error_string(error);
    failure_ = text != nullptr ? text : "unknown";
  }
  if (error_ == 0) error_ = eof_ ? EPIPE : EPROTO;
  // Lest OpenSSL takes up again what was cut.
  if (eof_) SSL_set_shutdown(ssl_, 0);
}

/// Of an end: whether it may be somebody else's doing. It was not said if we have read up to the descriptor's own; and
/// one that has failed speaks of an end like any other afterwards.
bool TlsSession::was_cut() const noexcept {
  const bool broken = error_ != 0 && error_ != EPIPE;
  return eof_ && (!unsaid_end_ok_ || broken);
}

IoStatus TlsSession::handshake() noexcept {
  waits_to_write_ = false;
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  if (result != 1) {
    const IoStatus status = stopped(result);
    if (status == IoStatus::eof) fail();
    return status == IoStatus::again ? IoStatus::again : IoStatus::fault;
  }
  established_ = true;
  if (SSL_is_server(ssl_) != 0) note_peer();
  return IoStatus::ok;
}

bool TlsSession::resumed() const noexcept { return SSL_session_reused(ssl_) != 0; }

void TlsSession::note_peer() {
  const X509* const certificate = SSL_get0_peer_certificate(ssl_);
  if (certificate == nullptr) return;
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  X509_digest(certificate, EVP_sha256(), digest.data(), &size);
  peer_ = "Hash=";
  for (unsigned int i = 0; i < size; ++i) {
    peer_ += kDigits[digest[i] >> 4];
    peer_ += kDigits[digest[i] & 15];
  }
  BIO* const text = BIO_new(BIO_s_mem());
  X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* name = nullptr;
  const long length = BIO_get_mem_data(text, &name);
  peer_.append(";Subject=\"").append(name, static_cast<std::size_t>(std::max(length, 0L))).append("\"");
  BIO_free_all(text);
}

// ---- bytes ----------------------------------------------------------------------------------

IoResult TlsSession::recv(std::span<char> into) noexcept {
  waits_to_write_ = false;
  std::size_t total = 0;
  while (total < into.size() && over_ == IoStatus::ok) {
    // Nothing is at hand and nothing would come: OpenSSL's way of saying so costs more than asking.
    if (emptied_ && SSL_has_pending(ssl_) == 0) break;
    ERR_clear_error();
    std::size_t count = 0;
    const int result = SSL_read_ex(ssl_, into.data() + total, into.size() - total, &count);
    total += count;
    if (result == 1) continue;
    const IoStatus status = stopped(result);
    if (status == IoStatus::again) break;
    over_ = status;
  }
  if (total > 0) return {IoStatus::ok, total, 0};
  if (over_ == IoStatus::ok) return {IoStatus::again, 0, 0};
  if (over_ == IoStatus::eof && was_cut()) {
    over_ = IoStatus::fault;
    fail();
  }
  return {over_, 0, over_ == IoStatus::fault ? error_ : 0};
}

IoResult TlsSession::send(std::span<const std::string_view> pieces) noexcept {
  waits_to_write_ = false;
  char gathered[kRecord];
  std::size_t sent = 0;
  std::size_t offset = 0;  // into the first piece
  while (!pieces.empty()) {
    if (offset == pieces.front().size()) {
      pieces = pieces.subspan(1);
      offset = 0;
      continue;
    }
    std::string_view record = pieces.front().substr(offset, kRecord);
    if (record.size() < kRecord && pieces.size() > 1) {
      std::size_t size = record.copy(gathered, kRecord);
      for (const std::string_view next : pieces.subspan(1)) size += next.copy(gathered + size, kRecord - size);
      record = {gathered, size};
    }
    ERR_clear_error();
    std::size_t count = 0;
    const int result = SSL_write_ex(ssl_, record.data(), record.size(), &count);
    if (result != 1) {
      const IoStatus status = stopped(result);
      if (status == IoStatus::again || sent > 0) return {sent > 0 ? IoStatus::ok : IoStatus::again, sent, 0};
      return {IoStatus::fault, 0, error_ != 0 ? error_ : EPIPE};
    }
    sent += count;
    // What was gathered may end in the middle of any piece.
    for (offset += count; pieces.size() > 1 && offset >= pieces.front().size(); pieces = pieces.subspan(1)) {
      offset -= pieces.front().size();
    }
  }
  return {IoStatus::ok, sent, 0};
}

bool TlsSession::send_end() noexcept {
  if (!established_ || failed_ || abandoned_ || end_sent_) return true;
  ERR_clear_error();
  const int result = SSL_shutdown(ssl_);
  end_sent_ = result >= 0;
  return end_sent_ || stopped(result) != IoStatus::again;
}

bool TlsSession::has_input() noexcept {
  if (over_ != IoStatus::ok) return true;
  emptied_ = false;
  ERR_clear_error();
  char first = 0;
  std::size_t count = 0;
  const int result = SSL_peek_ex(ssl_, &first, 1, &count);
  if (result == 1) return true;
  const IoStatus status = stopped(result);
  if (status == IoStatus::eof && was_cut()) fail();
  return status != IoStatus::again;
}

}  // namespace outrigger::net
